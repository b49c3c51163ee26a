"""The registration step: one verified version in MLflow for a model that passed its gate, perhaps the new champion."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.champion.champion_state import Candidate, Decision
from modelmill.champion.promotion import promote
from modelmill.components.registration.artifacts import collect
from modelmill.components.registration.claim import Claim, exclusively
from modelmill.core import digest
from modelmill.core.errors import GateFailed
from modelmill.recipe.step_specs import DATASET, EVALUATION, FINE_TUNED, VALIDATION
from modelmill.runtime import run_records, tracking
from modelmill.runtime.step_runtime import Made, Step, entry
from modelmill.runtime.tracking.versions import VERIFIED
from modelmill.store import check_conditional_writes, references
from modelmill.store.manifest import Manifest
from modelmill.store.references import Reference


class Registered(NamedTuple):
    """A registered version.

    Attributes:
        name: Name of the registered model.
        version: Number of the version.
        aliases: Its aliases now.
        decision: The decision on it; None where an earlier try had decided.
    """

    name: str
    version: str
    aliases: list[str]
    decision: Decision | None


def make(step: Step, passed: bool = True) -> Made:
    """Register the model once, check every file of the version, and decide whether it is the champion.

    Args:
        step: The running step.
        passed: The gate's verdict, as the DAG saw it.

    Raises:
        GateFailed: The model did not pass.
        CorruptError: MLflow gives back other bytes than it was given.
        StoreError: The store's conditional writes do not hold.
        ModelmillError: MLflow does not answer or refuses.
    """
    if not passed or not step.inputs[EVALUATION].info["passed"]:
        raise GateFailed("the model missed its thresholds in evaluation and is not registered; see evaluation.gate")
    check_conditional_writes(step.store)
    artifacts = collect(step)
    step.progress(1, 4, "registering")

    def waiting(why: str) -> None:
        step.progress(1, 4, why)

    def register(claim: Claim) -> Registered:
        return tracking.patiently(lambda: _register(step, claim, artifacts), waiting, _again(step))

    done = exclusively(
        step.store, identity(step), register, lambda holder: waiting(f"waiting for {holder}, who registers it")
    )
    made = Manifest(kind="registration", made_from=step.digests, info={"name": done.name, "version": done.version})
    said = {"decision": done.decision.what, "why": done.decision.reason} if done.decision else {}
    return Made(
        outputs={"registration": made},
        headline=" ".join([done.name, f"v{done.version}", *(f"@{name}" for name in done.aliases)]),
        metrics={"version": done.version, "alias": ", ".join(done.aliases), **said},
    )


def run(*, passed: bool, **given: str) -> dict[str, Any]:
    """Register a model, unless the gate has not let it pass as the DAG saw it.

    Args:
        passed: The gate's verdict as the DAG saw it.
        given: Recipe, store, run id and ports, as `entry` takes them.
    """
    return entry("registration", partial(make, passed=passed))(**given)


def identity(step: Step) -> str:
    """Return the identity of a registered version: the model, its data, the data's verdict and the packaging code.

    The evaluation is not part of it: a model that is compared once more is the same version.
    """
    return digest.of_json(
        {
            "inputs": {name: step.digests[name] for name in (DATASET, VALIDATION, FINE_TUNED)},
            "settings": {key: step.document["settings"][key] for key in ("name", "task", "registration")},
            "code": step.document["code"],
        }
    )


def _register(step: Step, claim: Claim, artifacts: dict[str, Path]) -> Registered:
    """Find or make the version, check it, decide, and let MLflow's aliases follow.

    Each part resumes where an earlier try ended.
    """
    with (
        tempfile.TemporaryDirectory(dir=step.scratch) as scratch,
        tracking.client(step.store) as client,
        tracking.step_run(client, step.store, step.recipe.name, step.run_id, step.name) as mlflow_run,
    ):
        # After `tracking` has set it up: mlflow reads its settings when it is imported.
        from modelmill.components.registration import registry

        name = step.recipe.registration.model
        earlier = registry.find(client, name, claim.key)
        version = earlier or registry.create(client, step, claim, mlflow_run, artifacts, Path(scratch))
        number = str(version.version)
        if version.tags.get(VERIFIED) != "true":
            step.progress(2, 4, f"reading version {number} back")
            registry.verify(client, step, version, artifacts, Path(scratch))
        registry.complete(client, step, claim.key, version)
        step.progress(3, 4, f"deciding on version {number}")
        candidate = Candidate(version=number, model=step.digests[FINE_TUNED], evaluation=step.digests[EVALUATION])
        settled = promote(step.store, name, candidate, is_new=earlier is None)
        tracking.follow(client, step.store, name)
        references.keep(step.store, name, Reference(number, step.digests[VALIDATION]))
        aliases = sorted(client.get_model_version(name, number).aliases)
    return Registered(name, number, aliases, settled.decision)


def _again(step: Step) -> str:
    """Return the advice for when MLflow has not answered for long enough."""
    started = run_records.read_run(step.store, step.run_id)
    if started is None:
        return tracking.AGAIN
    return f"; put that right, then this only registers, nothing is trained again: {started.resume}"
