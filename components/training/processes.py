"""A model step in several processes: torchrun starts them, and each runs the step's `make` on its part of the data."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.common import lifetime, manifest, steps
from components.common import recipe as recipes
from components.common.errors import ModelmillError, Preempted, TrainingDiverged, UserError
from components.common.manifest import Manifest
from components.common.recipe import Training
from components.common.runs import StepRecord
from components.common.step import Made, Step, prepare_process
from components.common.store import open_store

CORPUS = "preprocessing.corpus"
# How long a process may take to save once it is asked to end.
SAVING_SECONDS = 600
_ERRORS = {error.kind: error for error in (ModelmillError, UserError, TrainingDiverged, Preempted)}


def are_wanted(settings: Training) -> bool:
    """Whether the recipe asks for several processes and this is none of them."""
    return settings.devices > 1 and "TORCHELASTIC_RUN_ID" not in os.environ


def run(step: Step, settings: Training) -> Made:
    """Start `python -m components.<step> JOB` as often as the recipe says, and return what the first one made.

    They end when this process does, and a SIGTERM is handed on.

    Raises:
        UserError: the machine has fewer GPUs than the recipe's `devices`. ModelmillError: what ended a process.
    """
    _require_devices(step.name, settings.devices)
    manifest.fetch(step.store, step.inputs[CORPUS].entries, step.scratch / "corpus")
    job = step.scratch / "job.json"
    job.write_text(json.dumps(_describe(step)), "utf-8")
    threads = max(1, (os.cpu_count() or 1) // settings.devices)
    environment = os.environ | {"MODELMILL_EXIT_WITH_STDIN": "1", "OMP_NUM_THREADS": str(threads)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    options = ["--nproc-per-node", str(settings.devices), "--shutdown-timeout", str(SAVING_SECONDS)]
    command = [*torchrun, *options, "-m", f"components.{step.name}", str(job)]
    with (
        lifetime.termination() as asked,
        subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True) as process,
    ):
        while process.poll() is None:
            if asked.wait(0.2):
                process.terminate()
                process.wait()
    return _outcome(job, process.returncode)


def join(make: Callable[[Step], Made]) -> None:
    """Be one of the processes: join the others and do the step's work; the first says what came of it."""
    prepare_process()
    from components.training import world

    job, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    if rank:
        logging.getLogger("modelmill").setLevel(logging.WARNING)
    try:
        with world.joined():
            made = make(_step(job, rank))
    except ModelmillError as error:
        _write(job.with_name(f"problem-{rank}.json"), {"kind": error.kind, "message": str(error)})
        raise SystemExit(error.exit_code) from None
    if rank == 0:
        outputs = {name: m.model_dump() for name, m in made.outputs.items()}
        _write(job.with_name("made.json"), vars(made) | {"outputs": outputs})


def _describe(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "recipe": step.resolved,
        "store": step.store.uri,
        "run_id": step.run_id,
        "document": step.document,
        "record": step.record.model_dump(),
        "inputs": {name: m.model_dump() for name, m in step.inputs.items()},
    }


def _step(job: Path, rank: int) -> Step:
    """The step as its own process sees it, with a scratch folder of this process; only the first shows progress."""
    asked = json.loads(job.read_text("utf-8"))
    whole = recipes.from_json(asked["recipe"])
    scratch = job.parent / f"process-{rank}"
    scratch.mkdir()
    (scratch / "corpus").symlink_to(job.parent / "corpus")
    kind = Step if rank == 0 else QuietStep
    return kind(
        name=asked["name"],
        recipe=steps.visible_to(asked["name"], whole),
        resolved=asked["recipe"],
        inputs={name: Manifest(**m) for name, m in asked["inputs"].items()},
        document=asked["document"],
        store=open_store(asked["store"]),
        run_id=asked["run_id"],
        scratch=scratch,
        record=StepRecord(**asked["record"]),
    )


class QuietStep(Step):
    """The step's record is the first process's to write."""

    def progress(self, done: float, total: float, text: str) -> None:
        return


def _outcome(job: Path, returncode: int) -> Made:
    problems = sorted(job.parent.glob("problem-*.json"))
    if problems:
        problem = json.loads(problems[0].read_text("utf-8"))
        raise _ERRORS[problem["kind"]](problem["message"])
    if returncode or not (made := job.with_name("made.json")).is_file():
        raise ModelmillError(
            f"one of its processes was killed or failed (torchrun ended with {returncode}); see the log"
        )
    document = json.loads(made.read_text("utf-8"))
    return Made(**document | {"outputs": {name: Manifest(**m) for name, m in document["outputs"].items()}})


def _require_devices(name: str, wanted: int) -> None:
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else wanted
    if found < wanted:
        raise UserError(f"{name}.devices: {wanted} GPUs are asked for and this machine has {found}; set it to {found}")


def _write(file: Path, document: dict[str, Any]) -> None:
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(document), "utf-8")
    partial.rename(file)
