"""What the processes of a model step are told, and what they leave: objects in one folder, local or in the store.

`job.json` is the step, `made.json` what the first process made, `problem-RANK.json` what ended a process.
"""

import json
from pathlib import Path
from typing import Any

from modelmill import recipe as recipes
from modelmill.core.errors import Cancelled, ModelmillError, Preempted, TrainingDiverged, UserError
from modelmill.recipe import step_specs
from modelmill.runtime.run_records import StepRecord
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import KeyNotFound, Store, open_store
from modelmill.store.manifest import Manifest

_ERRORS = {error.kind: error for error in (ModelmillError, UserError, TrainingDiverged, Preempted, Cancelled)}


class QuietStep(Step):
    """A step without progress: its record belongs to the first process."""

    def progress(self, done: float, total: float, text: str) -> None:
        """Do nothing."""
        return


def describe(step: Step, folder: Store) -> None:
    """Write down the step for the processes that will do its work."""
    document = {
        "name": step.name,
        "recipe": step.resolved,
        "store": step.store.uri,
        "run_id": step.run_id,
        "document": step.document,
        "record": step.record.model_dump(),
        "inputs": {name: m.model_dump() for name, m in step.inputs.items()},
    }
    _write(folder, "job.json", document)


def step_of(folder: Store, scratch: Path, rank: int) -> Step:
    """Return the step for one of its processes; only the first shows progress.

    Args:
        folder: The folder with the job.
        scratch: A scratch folder of this process.
        rank: This process's rank.
    """
    asked = json.loads(folder.get("job.json"))
    whole = recipes.from_json(asked["recipe"])
    kind = Step if rank == 0 else QuietStep
    return kind(
        name=asked["name"],
        recipe=step_specs.visible_to(asked["name"], whole),
        resolved=asked["recipe"],
        inputs={name: Manifest(**m) for name, m in asked["inputs"].items()},
        document=asked["document"],
        store=open_store(asked["store"]),
        run_id=asked["run_id"],
        scratch=scratch,
        record=StepRecord(**asked["record"]),
    )


def leave_made(folder: Store, made: Made) -> None:
    """Write down what the step made."""
    outputs = {name: m.model_dump() for name, m in made.outputs.items()}
    _write(folder, "made.json", vars(made) | {"outputs": outputs})


def leave_problem(folder: Store, rank: int, error: ModelmillError) -> None:
    """Write down what ended this process."""
    _write(folder, f"problem-{rank}.json", {"kind": error.kind, "message": str(error)})


def clear(folder: Store) -> None:
    """Delete what an earlier attempt left."""
    for key in [*folder.list("problem-"), "made.json", "stopped"]:
        folder.delete(key)


def made_of(folder: Store) -> Made | None:
    """Return what the first process made, or None if it made nothing."""
    try:
        document = json.loads(folder.get("made.json"))
    except KeyNotFound:
        return None
    return Made(**document | {"outputs": {name: Manifest(**m) for name, m in document["outputs"].items()}})


def problem_of(folder: Store) -> ModelmillError | None:
    """Return what ended a process, as the error that it raised.

    That other processes were then asked to end comes last.
    """
    problems = [json.loads(folder.get(key)) for key in folder.list("problem-")]
    for problem in sorted(problems, key=lambda problem: problem["kind"] == Preempted.kind):
        return _ERRORS.get(problem["kind"], ModelmillError)(problem["message"])
    return None


def final_problem(folder: Store) -> ModelmillError | None:
    """Return the problem that no other attempt would change, if there is one."""
    problem = problem_of(folder)
    return None if isinstance(problem, Preempted) else problem


def _write(folder: Store, key: str, document: dict[str, Any]) -> None:
    folder.put(key, json.dumps(document).encode())
