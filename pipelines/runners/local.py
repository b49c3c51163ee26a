"""Runs the DAG on this machine, a process a step, without KFP.

The tasks, their order and their conditions are those of `pipelines.dag`, which a test holds them to. What is finished
is reused here, in the process of the command; what is not, is called in processes that import ahead (see `warm`).
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from modelmill.components.data_validation.api import measure_drift
from modelmill.core.errors import ModelmillError
from modelmill.recipe import Recipe, stored, task_packages
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.step_specs import DATASET, STEPS
from modelmill.runtime import reused
from modelmill.runtime.tracking import tracker
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

POLL_SECONDS = 0.2
# Tasks before a step, and the functions of the step's package that they call.
FUNCTIONS = {
    "look": ("data_validation", "has_changed"),
    "shard_scan": ("data_validation", "scan_group"),
    "reason_to_train": ("data_validation", "is_reason_to_train"),
    "fitting": ("preprocessing", "fit_ahead"),
    "shard_encoding": ("preprocessing", "encode_group"),
    **{step: (step, "run") for step in STEPS},
}
# Which process imports for which steps: what one needs, the other need not wait for.
CREWS = {
    "data": ("data_validation", "preprocessing"),
    "model": ("pretraining", "fine_tuning", "evaluation"),
    "registry": ("registration",),
}
# Tasks of one kind that run at a time, as in KFP's local runner.
SIDE_BY_SIDE = 2


class StepFailed(Exception):
    """A step has failed, and has recorded why."""


class LocalRun:
    """One run of the DAG.

    Args:
        recipe: What to run.
        store: Where everything is kept.
        run_id: The run whose records the steps write.
        planned: Names of the steps that are expected to run; for them, imports are begun at once.
        scratch: A folder for temporary files.
        log: Where the processes write.
        poll: Is called while a step runs.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        run_id: str,
        planned: Sequence[str],
        scratch: Path,
        log: IO[bytes],
        poll: Callable[[], None],
    ) -> None:
        """Prepare a run; nothing is started yet."""
        self._recipe, self._store, self._run_id = recipe, store, run_id
        self._planned, self._scratch, self._log, self._poll = planned, scratch, log, poll
        self._shared = {"recipe": stored.key_of(recipe), "store": store.uri}
        self._crews: dict[str, Crew] = {}
        self._made: dict[str, Manifest] = {}
        self._answers = 0
        self.tasks: list[str] = []

    def run(self, if_changed: bool = False) -> None:
        """Run every task of the DAG, in order, until one fails or a condition does not hold.

        Args:
            if_changed: Look for new data first, and train only if there is a reason to.
        """
        stored.write(self._store, self._recipe)
        with contextlib.ExitStack() as stack, contextlib.suppress(StepFailed):
            stack.callback(self._close)
            self._import_ahead()
            if if_changed and not self._call("look"):
                return
            self._validate()
            if if_changed and not self._call("reason_to_train"):
                return
            self._train()

    def _close(self) -> None:
        for crew in self._crews.values():
            crew.close()

    def _dismiss(self, name: str) -> None:
        if crew := self._crews.pop(name, None):
            crew.close()

    def _validate(self) -> None:
        groups = self._recipe.data.groups
        if groups > 1 and not self._is_finished("data_validation"):
            self._call_each("shard_scan", [{"group": group, "groups": groups} for group in range(groups)])
        self._step("data_validation")

    def _train(self) -> None:
        groups = self._recipe.data.groups
        if groups > 1 and not self._is_finished("preprocessing"):
            dataset = str(self._written(DATASET))
            self._call("fitting", dataset=dataset)
            jobs = [{"dataset": dataset, "group": group, "groups": groups} for group in range(groups)]
            self._call_each("shard_encoding", jobs)
        self._step("preprocessing")
        self._dismiss("data")  # its memory is the training's
        self._step("pretraining")
        self._step("fine_tuning")
        if self._step("evaluation")["passed"]:
            self._step("registration", passed=True)

    def _step(self, step: str, **more: Any) -> dict[str, Any]:
        """Reuse the step or call it; return its output parameters."""
        spec = STEPS[step]
        inputs = {name: self._made[name] for name in spec.inputs.values()}
        finished = reused.reuse_step(step, self._recipe, self._store, self._run_id, inputs)
        if finished is not None:
            self.tasks.append(step)
            outputs = {name: manifest.load(self._store, sha256) for name, sha256 in finished.outputs.items()}
            self._made |= {f"{step}.{name}": made for name, made in outputs.items()}
            self._poll()
            if step == "data_validation":
                return measure_drift(self._recipe, self._store, self._run_id, outputs["validation"])
            return finished.values
        files = {port: str(self._written(name)) for port, name in spec.inputs.items()}
        made = {output: self._scratch / f"{step}.{output}.json" for output in spec.outputs}
        files |= {output: str(file) for output, file in made.items()}
        values = self._call(step, **files, **more)
        self._made |= {f"{step}.{output}": Manifest.parse(file.read_bytes()) for output, file in made.items()}
        return values or {}

    def _is_finished(self, step: str) -> bool:
        inputs = {name: self._made[name] for name in STEPS[step].inputs.values()}
        return reused.is_finished(step, self._recipe, self._store, inputs)

    def _written(self, name: str) -> Path:
        """Write a manifest to a file, and return the file."""
        file = self._scratch / f"input-{name}.json"
        file.write_bytes(self._made[name].to_json())
        return file

    def _call(self, task: str, **arguments: Any) -> Any:
        return self._call_each(task, [arguments])[0]

    def _call_each(self, task: str, jobs: list[dict[str, Any]]) -> list[Any]:
        """Call a task's function for each job, some side by side; return the answers in order."""
        step, function = FUNCTIONS[task]
        self.tasks.append(task)
        crew, own = self._crew(step), task in ("look", "reason_to_train", *STEPS)
        shared = self._shared | ({"run_id": self._run_id} if own else {})
        answers = [self._scratch / f"answer-{self._answers + place}.json" for place in range(len(jobs))]
        self._answers += len(jobs)
        call = f"modelmill.components.{step}.step:{function}"
        for first in range(0, len(jobs), SIDE_BY_SIDE):
            ids = [
                crew.call(call, shared | job, answer, in_place=step == "registration")
                for job, answer in zip(
                    jobs[first : first + SIDE_BY_SIDE], answers[first : first + SIDE_BY_SIDE], strict=True
                )
            ]
            if any([crew.wait(call_id, self._poll) for call_id in ids]):
                for answer in filter(Path.exists, answers):
                    if isinstance(said := json.loads(answer.read_text()), dict) and "error" in said:
                        raise ModelmillError(f"{task}: {said['error']}")
                raise StepFailed
        return [json.loads(answer.read_text()) for answer in answers]

    def _import_ahead(self) -> None:
        for name, steps in CREWS.items():
            if set(steps) & set(self._planned):
                self._start(name)

    def _crew(self, step: str) -> "Crew":
        name = next(name for name, steps in CREWS.items() if step in steps)
        return self._crews.get(name) or self._start(name)

    def _start(self, name: str) -> "Crew":
        address = str(self._scratch / "tracker")
        crew = self._crews[name] = Crew(self._log, self._scratch, {tracker.VARIABLE: address})
        if name == "registry":
            function = "modelmill.runtime.tracking.runs:serve"
            crew.call(function, {"address": address, "store": self._store.uri}, self._scratch / "served.json", True)
        crew.import_ahead([module for step in CREWS[name] if step in self._planned for module in self._modules(step)])
        return crew

    def _modules(self, step: str) -> Iterator[str]:
        """Names of the modules that a step imports, the slow ones of them first."""
        components, package = "modelmill.components", task_packages.packages()[self._recipe.task]
        if step == "data_validation":
            yield from ("great_expectations", f"{components}.data_validation.contract")
        elif step == "preprocessing":
            yield f"{package}.preprocess"
        elif step == "registration":
            yield from ("mlflow", f"{components}.registration.registry", f"{package}.register")
        elif step == "evaluation":
            yield f"{package}.evaluate"
        elif getattr(self._recipe, step) is not None:
            yield from ("torch", f"{package}.task", "modelmill.training.loop.stage")
            if isinstance(self._recipe.fine_tuning, AdaptedFineTuning) and self._recipe.fine_tuning.method == "lora":
                yield from ("peft", f"{components}.fine_tuning.finishing")


class Crew:
    """A warm process, as the runner sees it.

    Args:
        log: Where it writes.
        scratch: Its folder for temporary files.
        environment: More variables for it.
    """

    def __init__(self, log: IO[bytes], scratch: Path, environment: dict[str, str]) -> None:
        """Start the process."""
        self._socket, theirs = socket.socketpair()
        self._codes: dict[int, int] = {}
        self._next, self._buffer = 0, b""
        own = {"MODELMILL_EXIT_WITH_STDIN": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch)}
        self._process = start_process(theirs.fileno(), log, {**os.environ, **own, **environment})
        theirs.close()

    def import_ahead(self, modules: list[str]) -> None:
        """Import modules while nothing else is asked for."""
        self._send({"import": modules})

    def call(self, function: str, arguments: dict[str, Any], answer: Path, in_place: bool = False) -> int:
        """Call a function, `module:name`, in a process of its own; return the call's id.

        Args:
            function: What to call.
            arguments: JSON.
            answer: The file for what the function returns.
            in_place: Call it in the warm process itself.
        """
        self._next += 1
        request = {"id": self._next, "call": function, "arguments": arguments, "answer": str(answer)}
        self._send(request | {"in_place": in_place})
        return self._next

    def wait(self, call: int, poll: Callable[[], None]) -> int:
        """Return the exit code of a call; negative where a signal ended it."""
        while call not in self._codes:
            poll()
            if select.select([self._socket], [], [], POLL_SECONDS)[0]:
                data = self._socket.recv(1 << 16)
                if not data:
                    return self._process.wait() or 1
                *lines, self._buffer = (self._buffer + data).split(b"\n")
                self._codes |= {one["id"]: one["code"] for one in map(json.loads, lines)}
        return self._codes.pop(call)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _send(self, request: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended, which waiting for it says
            self._socket.sendall(json.dumps(request).encode() + b"\n")


def start_process(theirs: int, log: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a warm process.

    Args:
        theirs: Its end of a socket.
        log: Where it writes.
        environment: Its variables.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "modelmill.pipelines.runners.warm", str(theirs)],
        # The pipe closes when this process dies, by whatever signal, and the others then end too.
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=[theirs],
        env=environment,
    )
