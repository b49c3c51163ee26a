"""Submit a recipe to a cluster: the pipeline as a version named by its digest, an experiment, a run, its record."""

import json
import shlex
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modelmill import recipe as recipes
from modelmill.core import digest
from modelmill.core.digest import canonical_json
from modelmill.core.errors import ModelmillError, UserError
from modelmill.pipelines.cluster import DEFAULT_CLUSTER, finished, lost, placement, profiles, reach, server_limits
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster.placement import INTERACTIVE
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.planning import estimates
from modelmill.recipe import Recipe, stored
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import run_records
from modelmill.runtime.run_records import Estimate, RunRecord
from modelmill.store import Store

VERSION_CHARACTERS = 12
RUNNING = {"PENDING", "RUNNING", "CANCELING", "PAUSED"}
# KFP compiles one pipeline at a time in a process, and takes a second for one nested in the first.
_COMPILING = threading.Lock()


class Submitted(NamedTuple):
    """A run that has been asked for.

    Attributes:
        run_id: The run.
        version: The pipeline's version.
        link: The run's page.
        note: What could not be done for it from here.
        left_out: Steps that were finished before, and have no task in it.
        write_record: Writes the run's record and returns why that was not possible, if it was not.
    """

    run_id: str
    version: str
    link: str
    note: str
    left_out: list[str]
    write_record: Callable[[], str]


class Uploaded(NamedTuple):
    """A version of a pipeline on the server."""

    pipeline_id: str
    version_id: str
    version: str


def submit(
    recipe: Recipe,
    cluster: Cluster,
    requested_by: str,
    reason: str,
    file: Path = DEFAULT_CLUSTER,
    if_changed: bool = False,
    priority: str = INTERACTIVE,
) -> Submitted:
    """Write the recipe to the store, upload its pipeline if the server does not have it, and start a run of it.

    Steps that earlier runs have finished are left out of the pipeline, unless it looks for new data by itself.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        requested_by: Who asked; kept in the run's record and in its description.
        reason: Why; kept beside it.
        file: The cluster's file, for the command that resumes.
        if_changed: Look for new data first, as in `dag.build`.
        priority: PriorityClass, as in `compile_for`.

    Raises:
        UserError: What `compile_for`, `reach.require` and `clients.connected` find wrong.
    """
    placement.check(recipe, cluster, profiles.load(cluster.profiles))
    store = reach.require(cluster)
    done = None if if_changed else finished.find(recipe, cluster, store)
    given: dict[str, Any] = {"recipe": stored.write(store, recipe), **({"finished": done.keys} if done else {})}
    with tempfile.TemporaryDirectory(prefix="modelmill-submit-") as folder:
        path = Path(folder) / "pipeline.yaml"
        with _COMPILING:
            placement.compile_for(recipe, cluster, str(path), if_changed, priority, finished=done)
        with clients.connected(cluster) as client:
            uploaded = upload(client, cluster, recipe.name, path)
            run = start(client, cluster, recipe.name, uploaded, requested_by, reason, given)
    document, costs = json.loads(recipes.to_json(recipe)), partial(estimates.if_all_run, recipe)
    write = partial(record, cluster, run.run_id, document, costs, requested_by, reason, file, time.time())
    left_out = list(done.keys) if done else []
    return Submitted(run.run_id, uploaded.version, link(cluster, run.run_id), write(), left_out, write)


def resume(run_id: str, cluster: Cluster, requested_by: str, file: Path = DEFAULT_CLUSTER) -> Submitted:
    """Start a new run of a run's version with its parameters, its recipe's key among them; finished steps are reused.

    Args:
        run_id: The run that has ended.
        cluster: The cluster.
        requested_by: Who asked.
        file: The cluster's file, for the command that resumes.

    Raises:
        UserError: There is no such run, or it goes on.
    """
    store, _ = reach.store_of(cluster)
    known = run_records.read_run(store, run_id) if store else None
    if store is not None and known is not None:
        stored.write_json(store, canonical_json(known.recipe).decode())
    with clients.connected(cluster) as client:
        before = get_run(client, run_id)
        if before.state in RUNNING and not lost.is_lost(before, lambda: reach.store_of(cluster)[0]):
            raise UserError(f"{run_id}: is {before.state.lower()}; modelmill status {run_id} shows it, cancel stops it")
        reference = before.pipeline_version_reference
        if reference is None or not reference.pipeline_version_id:
            raise UserError(
                f"{run_id}: was not started from a version of a pipeline; modelmill submit starts a new one"
            )
        uploaded = Uploaded(reference.pipeline_id, reference.pipeline_version_id, "")
        version = clients.retried(
            lambda: client.get_pipeline_version(uploaded.pipeline_id, uploaded.version_id)
        ).display_name
        parameters = (before.runtime_config.parameters if before.runtime_config else None) or {}
        name, reason = before.display_name.split(" ")[0], f"resumes {run_id}"
        run = start(client, cluster, name, uploaded, requested_by, reason, parameters)
    write = partial(_record_again, cluster, run_id, run.run_id, requested_by, reason, file, time.time())
    left_out = [step for step in STEPS if step in parameters.get("finished", {})]
    return Submitted(run.run_id, version, link(cluster, run.run_id), write(), left_out, write)


def upload(client: Any, cluster: Cluster, name: str, path: Path) -> Uploaded:
    """Return a file as a version of the pipeline of this name: the one that is there, or a new one.

    Args:
        client: KFP's client.
        cluster: The cluster.
        name: The pipeline's name.
        path: The compiled file.
    """
    import kfp_server_api as api

    namespace = cluster.kfp.namespace
    pipeline = clients.found_or_made(
        lambda: clients.named(client.list_pipelines, "pipelines", name, namespace=namespace),
        lambda: client.pipelines.pipeline_service_create_pipeline(
            pipeline=api.V2beta1Pipeline(display_name=name, namespace=namespace)
        ),
    ).pipeline_id
    version = digest.of_file(path)[:VERSION_CHARACTERS]
    made = clients.found_or_made(
        lambda: clients.named(client.list_pipeline_versions, "pipeline_versions", version, pipeline_id=pipeline),
        lambda: client.pipeline_uploads.upload_pipeline_version(str(path), name=version, pipelineid=pipeline),
    )
    return Uploaded(pipeline, made.pipeline_version_id, version)


def experiment(client: Any, cluster: Cluster) -> str:
    """Return the id of the cluster's experiment; make it if it is not there."""
    import kfp_server_api as api

    name, namespace = cluster.kfp.experiment, cluster.kfp.namespace
    experiment_id: str = clients.found_or_made(
        lambda: clients.named(client.list_experiments, "experiments", name, namespace=namespace),
        lambda: client.experiments.experiment_service_create_experiment(
            experiment=api.V2beta1Experiment(display_name=name, namespace=namespace)
        ),
    ).experiment_id
    return experiment_id


def start(
    client: Any,
    cluster: Cluster,
    name: str,
    uploaded: Uploaded,
    requested_by: str,
    reason: str,
    parameters: dict[str, Any] | None = None,
) -> Any:
    """Create a run, once: its name is its own, so that a run whose answer was lost is recognised by it.

    Args:
        client: KFP's client.
        cluster: The cluster.
        name: The pipeline's name.
        uploaded: The version to run.
        requested_by: Who asked.
        reason: Why.
        parameters: The pipeline's parameters; its defaults without them.
    """
    import kfp_server_api as api

    experiment_id = experiment(client, cluster)
    own = f"{name} {time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    asked = api.V2beta1Run(
        experiment_id=experiment_id,
        display_name=own,
        description=described(requested_by, reason),
        plugins_input=server_limits.plugins_off(client),
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=uploaded.pipeline_id, pipeline_version_id=uploaded.version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters=parameters or {}),
        service_account=cluster.kfp.service_account,
    )
    return clients.found_or_made(
        lambda: clients.named(client.list_runs, "runs", own, experiment_id=experiment_id),
        lambda: client.runs.run_service_create_run(run=asked),
    )


def described(requested_by: str, reason: str) -> str:
    """Return the description of a run, such as `Requested by ann: new data`; the whole text is in our record."""
    said = f"Requested by {requested_by}" if requested_by else "Requested"
    return server_limits.cut(f"{said}: {reason}" if reason else said)


def get_run(client: Any, run_id: str) -> Any:
    """Return KFP's run.

    Raises:
        UserError: There is no such run.
    """
    import kfp_server_api as api

    try:
        return clients.retried(lambda: client.get_run(run_id))
    except api.ApiException as error:
        if error.status not in {400, 404}:
            raise
        raise UserError(f"{run_id}: no such run on this cluster; modelmill status lists them") from None


def record(
    cluster: Cluster,
    run_id: str,
    recipe: dict[str, Any],
    costs: Callable[[Store], dict[str, Estimate]],
    requested_by: str,
    reason: str,
    file: Path,
    started: float,
) -> str:
    """Write the run's record to the store; return why that was not possible, if it was not.

    Args:
        cluster: The cluster.
        run_id: The run.
        recipe: The resolved recipe as JSON.
        costs: Returns the estimates of the training steps, given the store.
        requested_by: Who asked.
        reason: Why.
        file: The cluster's file, for the command that resumes.
        started: Start in seconds since 1970.
    """
    store, why = reach.store_of(cluster)
    if store is None:
        return f"the run's record was not written: {why}"
    resume_with = shlex.join(["modelmill", "resume", run_id, "--cluster", str(file)])
    try:
        kept = RunRecord(
            run_id=run_id,
            recipe=recipe,
            store=cluster.store,
            started=started,
            resume=resume_with,
            estimates=costs(store),
            requested_by=requested_by,
            reason=reason,
        )
        run_records.write_run(store, kept)
    except ModelmillError as error:
        return f"the run's record was not written: {error}"
    return ""


def _record_again(
    cluster: Cluster, before: str, run_id: str, requested_by: str, reason: str, file: Path, started: float
) -> str:
    """Write the record of a run that goes on with another; return why that was not possible, if it was not.

    Args:
        cluster: The cluster.
        before: The run that it goes on with.
        run_id: The run.
        requested_by: Who asked.
        reason: Why.
        file: The cluster's file, for the command that resumes.
        started: Start in seconds since 1970.
    """
    store, why = reach.store_of(cluster)
    if store is None:
        return f"the run's record was not written: {why}"
    try:
        known = run_records.read_run(store, before)
    except ModelmillError as error:
        return f"the run's record was not written: {error}"
    if known is None:
        return ""
    costs = known.estimates
    return record(cluster, run_id, known.recipe, lambda store: costs, requested_by, reason, file, started)


def link(cluster: Cluster, run_id: str) -> str:
    """Return the address of a run's page, for a browser."""
    return f"{(cluster.kfp.ui or cluster.kfp.host).rstrip('/')}/#/runs/details/{run_id}"
