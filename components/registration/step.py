"""The registration step: one verified version in MLflow for a model that passed its gate."""

from functools import partial
from typing import Any

from components.common import references, tracking
from components.common.errors import GateFailed
from components.common.manifest import Manifest
from components.common.references import Reference
from components.common.step import Made, Step, run_step
from components.registration.artifacts import collect

DATASET, VALIDATION = "data_validation.dataset", "data_validation.validation"
MODEL, EVALUATION = "fine_tuning.model", "evaluation.evaluation"


def run(
    *,
    recipe: str,
    store: str,
    run_id: str,
    passed: bool,
    dataset: str,
    validation: str,
    model: str,
    evaluation: str,
    registration: str,
) -> dict[str, Any]:
    """Register; the last five are files that hold manifests, `registration` the one to write."""
    return run_step(
        "registration",
        partial(make, passed=passed),
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={DATASET: dataset, VALIDATION: validation, MODEL: model, EVALUATION: evaluation},
        outputs={"registration": registration},
    )


def make(step: Step, passed: bool = True) -> Made:
    """
    Raises:
        GateFailed: the model did not pass. Corrupt: MLflow gives back other bytes than it was given.
        ModelmillError: MLflow does not answer or refuses.
    """
    if not passed or not step.inputs[EVALUATION].info["passed"]:
        raise GateFailed("the model missed its thresholds in evaluation and is not registered; see evaluation.gate")
    artifacts = collect(step)
    step.progress(1, 4, "registering")
    with (
        tracking.client(step.store) as client,
        tracking.step_run(client, step.store, step.recipe.name, step.run_id, step.name) as mlflow_run,
    ):
        # After `tracking` has set it up: mlflow reads its settings when it is imported.
        from components.registration import registry

        version = registry.find(client, step) or registry.create(client, step, mlflow_run, artifacts)
        step.progress(2, 4, f"reading version {version.version} back")
        registry.verify(client, step, version, artifacts)
        step.progress(3, 4, "setting the alias")
        registry.complete(client, step, version)
        references.keep(step.store, version.name, Reference(str(version.version), step.digests[VALIDATION]))
        names = sorted(client.get_model_version(version.name, version.version).aliases)
    made = Manifest(
        kind="registration",
        made_from=step.digests,
        info={"name": version.name, "version": str(version.version)},
    )
    return Made(
        outputs={"registration": made},
        headline=" ".join([version.name, f"v{version.version}", *(f"@{name}" for name in names)]),
        metrics={"version": str(version.version), "alias": ", ".join(names)},
    )
