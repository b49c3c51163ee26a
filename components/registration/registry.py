"""Versions in MLflow's registry: found by their identity, made once, read back, completed."""

import json
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.time import get_current_time_millis

from modelmill.components.registration import delivery, model_card, package
from modelmill.components.registration.claim import Claim
from modelmill.core.errors import CorruptError
from modelmill.recipe.step_specs import DATASET, EVALUATION, FINE_TUNED, VALIDATION
from modelmill.runtime import model_form
from modelmill.runtime.step_runtime import Step
from modelmill.runtime.tracking.versions import EVALUATION as EVALUATION_TAG
from modelmill.runtime.tracking.versions import KEY, PACKAGE, VERIFIED
from modelmill.store import blobs, manifest
from modelmill.store.manifest import Manifest

_DATASET_DIGEST_CHARACTERS = 36


def find(client: Any, name: str, key: str) -> Any:
    """Return the version that an earlier try has made of this very result, or None.

    Several exist only where a worker stood still, lost its claim, and was killed before it deleted its own: the first
    counts.

    Args:
        client: MLflow's client.
        name: Name of the registered model.
        key: Identity of the version.
    """
    versions = client.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    first, *others = sorted(versions, key=lambda version: int(version.version)) or [None]
    for other in others:
        if other.tags.get(VERIFIED) != "true":
            client.delete_model_version(name, other.version)
    return first


def create(client: Any, step: Step, claim: Claim, mlflow_run: str, artifacts: dict[str, Path], scratch: Path) -> Any:
    """Log the model and its evidence, then make the version, whole and with its key, in one request.

    A process that is killed before that request leaves no version; one that is killed after it leaves one that `find`
    returns.

    Args:
        client: MLflow's client.
        step: The running step.
        claim: This worker's claim.
        mlflow_run: MLflow's id of the step's run.
        artifacts: See `package.build`.
        scratch: An empty folder.

    Raises:
        Lost: Another worker registers in this one's place.
    """
    name = step.recipe.registration.model
    _log_dataset(client, step, mlflow_run)
    model_id = _log_model(client, step, mlflow_run, artifacts, scratch)
    _log_metrics(client, step, mlflow_run, model_id)
    _ensure_registered_model(client, name)
    claim.check()
    client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=mlflow_run,
        tags={**_tags(step, claim.key), PACKAGE: _own(step, artifacts)},
        description=model_card.write(step),
        model_id=model_id,
    )
    return find(client, name, claim.key)


def verify(client: Any, step: Step, version: Any, artifacts: dict[str, Path], scratch: Path) -> None:
    """Read the version back from MLflow and compare every file that we gave it.

    Args:
        client: MLflow's client.
        step: The running step.
        version: The version.
        artifacts: See `package.build`.
        scratch: An empty folder.

    Raises:
        CorruptError: A file is missing or has other bytes; the version is tagged as not verified.
    """
    uri = f"models:/{version.name}/{version.version}"
    expected = package.contents(step.inputs[FINE_TUNED], artifacts)
    location = client.get_model_version_download_uri(version.name, version.version)
    for name, sha256 in delivery.digests(uri, location, list(expected), scratch).items():
        if sha256 != expected[name]:
            client.set_model_version_tag(version.name, version.version, VERIFIED, "false")
            # Where it was copied by the server, it may have been damaged before.
            manifest.fetch(step.store, model_form.registered(step.inputs[FINE_TUNED]), scratch)
            state = "has other bytes than were registered" if sha256 else "is missing"
            raise CorruptError(f"{uri}: {name} {state}; delete that version in MLflow and run the same command again")


def complete(client: Any, step: Step, key: str, version: Any) -> None:
    """Set the tags that an interrupted registration has not set, `modelmill.verified=true` last.

    The newest evaluation replaces an older one: one version may be compared several times.

    Args:
        client: MLflow's client.
        step: The running step.
        key: Identity of the version.
        version: The version.
    """
    for name, value in {**_tags(step, key), VERIFIED: "true"}.items():
        if name not in version.tags or (name in (EVALUATION_TAG, VERIFIED) and version.tags[name] != value):
            client.set_model_version_tag(version.name, version.version, name, value)


def _tags(step: Step, key: str) -> dict[str, str]:
    """Return the digests of what the version was made from."""
    inputs = {"model": FINE_TUNED, "dataset": DATASET, "validation": VALIDATION, "evaluation": EVALUATION}
    return {
        KEY: key,
        **{f"modelmill.{name}": step.inputs[source].digest for name, source in inputs.items()},
        "modelmill.recipe": step.recipe.name,
        "modelmill.run_id": step.run_id,
        "modelmill.code": step.document["code"]["source"],
        **_base(step.inputs[FINE_TUNED]),
    }


def _base(model: Manifest) -> dict[str, str]:
    """Return the tags of an adapter: its form, and the base that it is joined with."""
    if not model_form.is_adapter(model):
        return {}
    base = model_form.base(model)
    return {
        "modelmill.form": model_form.ADAPTER,
        "modelmill.base": base["source"],
        "modelmill.base_digest": base["digest"],
    }


def _own(step: Step, artifacts: dict[str, Path]) -> str:
    """Return the digests of the package's other files, by which a download is checked."""
    return json.dumps(package.own(step.inputs[FINE_TUNED], artifacts), sort_keys=True)


def _log_dataset(client: Any, step: Step, mlflow_run: str) -> None:
    """Log the dataset's manifest as an input of the run, in the form of `mlflow.data.get_source`."""
    dataset = step.inputs[DATASET]
    key = blobs.key_of(dataset.digest)
    local = step.store.local_path(key)
    logged = Dataset(
        name=step.recipe.name,
        digest=dataset.digest[:_DATASET_DIGEST_CHARACTERS],
        source_type="local" if local else "s3",
        source=json.dumps({"uri": str(local) if local else f"{step.store.uri}/{key}"}),
        profile=json.dumps({"num_rows": dataset.info["rows"]}),
    )
    inputs = [DatasetInput(logged, tags=[InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(mlflow_run, inputs)
    except MlflowException:
        # Where two log one dataset at once, MLflow refuses the second, which finds the dataset at its next try.
        client.log_inputs(mlflow_run, inputs)


def _log_model(client: Any, step: Step, mlflow_run: str, artifacts: dict[str, Path], scratch: Path) -> str:
    """Upload the packaged model and return MLflow's id of it.

    `mlflow.pyfunc.log_model` would run the model on its example, in this process, which has no torch.
    """
    experiment = client.get_run(mlflow_run).info.experiment_id
    logged = client.create_logged_model(experiment, name=step.recipe.registration.model, source_run_id=mlflow_run)
    metadata = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=mlflow_run,
        model_id=logged.model_id,
    )
    packaged = package.build(step.inputs[FINE_TUNED], step.inputs[DATASET], artifacts, scratch / "package", metadata)
    (packaged / "README.md").write_text(model_card.write(step), "utf-8")
    delivery.send(client, step.store, logged, packaged, model_form.registered(step.inputs[FINE_TUNED]))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(mlflow_run, [LoggedModelOutput(logged.model_id, step=0)])
    return logged.model_id


def _log_metrics(client: Any, step: Step, mlflow_run: str, model_id: str) -> None:
    """Log the evaluation's metrics, for the run and for the model."""
    now = get_current_time_millis()
    measured = step.inputs[EVALUATION].info["metrics"].items()
    metrics = [Metric(name, value, now, 0, model_id=model_id, run_id=mlflow_run) for name, value in measured]
    client.log_batch(mlflow_run, metrics=metrics)


def _ensure_registered_model(client: Any, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
