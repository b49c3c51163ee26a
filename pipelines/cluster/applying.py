"""From the files to a cluster whose recurring runs agree with them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from modelmill import recipe as recipes
from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import cron, placement, reach, schedules, scheduling, settings, submitting, zones
from modelmill.pipelines.cluster.schedules import Schedule
from modelmill.pipelines.cluster.scheduling import Change, Wanted
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.recipe import stored


class Compiled(NamedTuple):
    """A recipe as JSON, and its pipeline, as a name, a digest and a file's content."""

    recipe: str
    name: str
    version: str
    content: bytes


class Goal(NamedTuple):
    """The recurring runs that a cluster is to have, and the compiled files that they run, by recipe and if_changed."""

    cluster: Cluster
    wanted: list[Wanted]
    compiled: dict[tuple[str, bool], Compiled]


def compare(file: Path, cluster: Path) -> list[Change]:
    """Return what `apply` would do; make, upload and change nothing.

    Args:
        file: The schedules' file.
        cluster: The cluster's file.

    Raises:
        UserError: A file is wrong, found before the cluster is asked, or what `clients.connected` finds wrong.
    """
    return differences(read(file, cluster))


def differences(goal: Goal) -> list[Change]:
    """Return what the cluster has otherwise; only ask it.

    Raises:
        UserError: What `clients.connected` finds wrong.
    """
    kfp = goal.cluster.kfp
    with clients.connected(goal.cluster) as client:
        experiment = clients.named(client.list_experiments, "experiments", kfp.experiment, namespace=kfp.namespace)
        known = scheduling.existing(client, experiment.experiment_id) if experiment is not None else []
    return scheduling.difference(goal.wanted, known)


def apply(file: Path, cluster: Path) -> list[Change]:
    """Do what `compare` says, and return what was done; if it is interrupted, the next call does the rest.

    Args:
        file: The schedules' file.
        cluster: The cluster's file.

    Raises:
        UserError: As `compare`, or the cluster's store cannot be reached from here.
        ModelmillError: As `compare`.
    """
    goal = read(file, cluster)
    store = reach.require(goal.cluster)
    for one in goal.compiled.values():
        stored.write_json(store, one.recipe)
    with clients.connected(goal.cluster) as client:
        experiment_id = submitting.experiment(client, goal.cluster)
        changes = scheduling.difference(goal.wanted, scheduling.existing(client, experiment_id))
        versions = {one.wanted.version: upload(client, goal, one.wanted) for one in changes if one.wanted is not None}
        deletions = [change for change in changes if change.action == "delete"]
        others = [change for change in changes if change.action != "delete"]
        for change in others:
            if change.wanted is not None:
                scheduling.create(client, experiment_id, change.wanted, versions[change.wanted.version])
            else:
                scheduling.switch(client, change)
        return others + scheduling.delete(client, experiment_id, deletions)


def upload(client: Any, goal: Goal, wanted: Wanted) -> submitting.Uploaded:
    """Return the version of what a schedule runs, uploaded as `submit` does where the cluster does not have it.

    Args:
        client: KFP's client.
        goal: The recurring runs and their compiled files.
        wanted: The recurring run.
    """
    content = next(one.content for one in goal.compiled.values() if one.version == wanted.version)
    with tempfile.TemporaryDirectory(prefix="modelmill-schedule-") as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_bytes(content)
        return submitting.upload(client, goal.cluster, wanted.pipeline, path)


def read(file: Path, cluster: Path) -> Goal:
    """Return what the cluster is to have, with every recipe compiled.

    Args:
        file: The schedules' file.
        cluster: The cluster's file.

    Raises:
        UserError: Something in the files, or in a recipe that they name, is wrong.
    """
    goal = Goal(settings.load(cluster), [], {})
    try:
        scheduler = zones.zone(goal.cluster.kfp.time_zone)
    except ValueError as error:
        raise UserError(f"{cluster}: kfp.time_zone: {error}") from None
    now = datetime.now(UTC)
    for one in schedules.load(file):
        try:
            parts = zones.parts(cron.parse(one.cron), zones.zone(one.time_zone), scheduler, now)
        except ValueError as error:
            raise UserError(
                f"{file}: {one.name}: {one.cron!r} of {one.time_zone} {error}; choose another hour, or give KFP's "
                f"scheduler that zone and write it as kfp.time_zone in {cluster}"
            ) from None
        try:
            compiled = _compiled(one, goal)
        except UserError as error:
            raise UserError(f"{file}: {one.name}: {error}") from error
        goal.wanted.extend(_wanted(one, part, goal.cluster, compiled) for part in parts)
    return goal


def _wanted(one: Schedule, part: zones.Part, cluster: Cluster, compiled: Compiled) -> Wanted:
    return Wanted(
        schedule=one.name,
        part=part,
        pipeline=compiled.name,
        version=compiled.version,
        recipe=stored.key_of_json(compiled.recipe),
        service_account=cluster.kfp.service_account,
        max_concurrency=one.max_concurrency,
        catch_up=one.catch_up,
        enabled=one.enabled,
        text=f"{Path(one.recipe).name} at {one.cron} {one.time_zone}",
    )


def _compiled(one: Schedule, goal: Goal) -> Compiled:
    """Return a schedule's pipeline; schedules of the same recipe have it compiled once."""
    recipe = recipes.load(Path(one.recipe), one.overrides)
    key = (recipes.to_json(recipe), one.if_changed)
    if key not in goal.compiled:
        with tempfile.TemporaryDirectory(prefix="modelmill-schedule-") as folder:
            path = Path(folder) / "pipeline.yaml"
            placement.compile_for(recipe, goal.cluster, str(path), one.if_changed, placement.SCHEDULED)
            goal.compiled[key] = Compiled(key[0], recipe.name, digest.of_file(path), path.read_bytes())
    return goal.compiled[key]
