"""Steps that were finished before a run began: recorded as reused in one task, in place of one for each."""

from pathlib import Path

from modelmill.components.reporting import step as reporting
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import reused
from modelmill.store import manifest, open_store


def reuse(*, recipe: str, store: str, run_id: str, finished: dict[str, str], outputs: dict[str, str]) -> None:
    """Record finished steps as reused, and write the manifests of what they made.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run.
        finished: The steps' keys, by step.
        outputs: File of each manifest, by `step.output`; empty afterwards where the step is not a finished one.

    Raises:
        SystemExit: What a step made is no longer whole; its record says so.
    """
    made: dict[str, str] = {}
    # KFP keeps no order of what is in a parameter.
    for step in (step for step in STEPS if step in finished):
        done = reused.reuse_key(step, finished[step], recipe=recipe, store=store, run_id=run_id)
        made |= {f"{step}.{output}": sha256 for output, sha256 in done.outputs.items()}
    opened = open_store(store)
    for output, file in outputs.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(manifest.load(opened, made[output]).to_json() if output in made else b"")


def reuse_all(*, recipe: str, store: str, run_id: str, finished: dict[str, str], report: str) -> None:
    """Record all steps of a run as reused, and report on it, also where that was not possible.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run.
        finished: The steps' keys, by step.
        report: The file to write the page to.

    Raises:
        SystemExit: As `reuse`.
    """
    try:
        reuse(recipe=recipe, store=store, run_id=run_id, finished=finished, outputs={})
    finally:
        reporting.run(recipe=recipe, store=store, run_id=run_id, report=report)
