"""The registration step: one verified version in MLflow for a model that passed its gate, and is it the champion?"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.champion.champion_state import Candidate, Decision, digest_of
from modelmill.champion.promotion import promote
from modelmill.components.registration.artifacts import collect
from modelmill.components.registration.claim import Claim, exclusively
from modelmill.core import digest
from modelmill.core.errors import GateFailed
from modelmill.recipe.step_specs import CHAMPION, DATASET, EVALUATION, FINE_TUNED, VALIDATION
from modelmill.runtime import run_records, tracking
from modelmill.runtime.step_runtime import Made, Step, run_step
from modelmill.runtime.tracking.versions import VERIFIED
from modelmill.store import check_conditional_writes, references
from modelmill.store.manifest import Manifest
from modelmill.store.references import Reference


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
        inputs={DATASET: dataset, VALIDATION: validation, FINE_TUNED: model, EVALUATION: evaluation},
        outputs={"registration": registration},
    )


class Registered(NamedTuple):
    """A version with the aliases that it has now; `decision` is None where there was nothing left to decide."""

    name: str
    version: str
    aliases: list[str]
    decision: Decision | None


def make(step: Step, passed: bool = True) -> Made:
    """
    Raises:
        GateFailed: the model did not pass. CorruptError: MLflow gives back other bytes than it was given.
        StoreError: the store's conditional writes do not hold. ModelmillError: MLflow does not answer or refuses.
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


def identity(step: Step) -> str:
    """What a registered version is one of: a model made from this data, with this verdict on it, packaged by this code.

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
    """Find or make the version, read it back, decide, and let MLflow's aliases follow: each goes on from where an
    earlier try was ended.
    """
    with (
        tempfile.TemporaryDirectory(dir=step.scratch) as scratch,
        tracking.client(step.store) as client,
        tracking.step_run(client, step.store, step.recipe.name, step.run_id, step.name) as mlflow_run,
    ):
        # After `tracking` has set it up: mlflow reads its settings when it is imported.
        from modelmill.components.registration import registry

        name = step.recipe.registration.model
        found = registry.find(client, name, claim.key)
        version = found or registry.create(client, step, claim, mlflow_run, artifacts, Path(scratch))
        number = str(version.version)
        if version.tags.get(VERIFIED) != "true":
            step.progress(2, 4, f"reading version {number} back")
            registry.verify(client, step, version, artifacts, Path(scratch))
        registry.complete(client, step, claim.key, version)
        step.progress(3, 4, f"deciding on version {number}")
        candidate = Candidate(version=number, model=step.digests[FINE_TUNED], evaluation=step.digests[EVALUATION])
        _expect(step, candidate)
        settled = promote(step.store, name, candidate, is_new=found is None)
        tracking.follow(client, step.store, name)
        references.keep(step.store, name, Reference(number, step.digests[VALIDATION]))
        aliases = sorted(client.get_model_version(name, number).aliases)
    return Registered(name, number, aliases, settled.decision)


def _expect(step: Step, candidate: Candidate) -> None:
    """Were it the champion, its evaluation would be the same: the next run need not compare it with itself.

    Said before it becomes the champion, because a run that is killed right afterwards must find its evaluation.
    """
    if step.inputs[EVALUATION].info.get("comparison") is not None:
        step.settle("evaluation", {CHAMPION: digest_of(candidate)})


def _again(step: Step) -> str:
    """What to do when MLflow has not answered for long enough."""
    started = run_records.read_run(step.store, step.run_id)
    if started is None:
        return tracking.AGAIN
    return f"; put that right, then this only registers, nothing is trained again: {started.resume}"
