"""A model step in several processes: torchrun starts them, and each runs the step's `make` on its part of the data."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from modelmill.core import digest, lifetime, limits
from modelmill.core.errors import Cancelled, ModelmillError, UserError, one_line
from modelmill.recipe import Training
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime.recorded import prepare_process
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import Store, manifest, open_store
from modelmill.training.launch import heartbeat, job, nodes

log = logging.getLogger("modelmill")
# How long a process may take to save after it is asked to end; so long are the grace periods in k8s/, too.
SAVING_SECONDS = lifetime.SAVING_SECONDS


def are_wanted(settings: Training) -> bool:
    """Tell whether the recipe asks for several processes and this is none of them."""
    return settings.devices * settings.nodes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ


def run(step: Step, settings: Training) -> Made:
    """Start the processes of the step, and return what the first one made.

    On several nodes a TrainJob starts them, else torchrun does, here: `python -m modelmill.components.<step> FOLDER`,
    as often as the recipe says. They end when this process does, and a SIGTERM is handed on to them.

    Args:
        step: The step.
        settings: The stage's settings.

    Raises:
        UserError: The machine has fewer GPUs than the recipe's `devices`.
        ModelmillError: The error that ended a process.
    """
    if settings.nodes > 1:
        return nodes.run(step, settings)
    _require_devices(step.name, settings.devices)
    folder = open_store(f"file://{step.scratch}/job")
    job.describe(step, folder)
    threads = max(1, limits.cores() // settings.devices)
    environment = os.environ | {"MODELMILL_EXIT_WITH_STDIN": "1", "OMP_NUM_THREADS": str(threads)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    options = ["--nproc-per-node", str(settings.devices), "--shutdown-timeout", str(SAVING_SECONDS)]
    command = [*torchrun, *options, "-m", f"modelmill.components.{step.name}", folder.uri]
    with (
        lifetime.termination() as asked,
        subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True) as process,
    ):
        while process.poll() is None:
            if asked.wait(0.2):
                process.terminate()
                process.wait()
    if problem := job.problem_of(folder):
        raise problem
    made = job.made_of(folder)
    if process.returncode or made is None:
        raise ModelmillError(
            f"one of its processes was killed or failed (torchrun ended with {process.returncode}); see the log"
        )
    return made


def join(make: Callable[[Step], Made]) -> None:
    """Join the other processes and do the step's work; the first process leaves what it made.

    Args:
        make: The step's function.
    """
    prepare_process()
    from modelmill.training.device import world

    folder, rank = open_store(sys.argv[1]), int(os.environ["RANK"])
    if rank:
        log.setLevel(logging.WARNING)
    try:
        with _scratch(folder.uri) as scratch:
            step = job.step_of(folder, scratch, rank)
            with _ending_when_asked(step, folder, rank):
                _share_corpus(step)
                with world.joined():
                    made = make(step)
                if rank == 0:
                    job.leave_made(folder, made)
    except ModelmillError as error:
        job.leave_problem(folder, rank, error)
        if rank == 0:
            log.error("%s", one_line(error))
        is_wanted_no_more = isinstance(error, Cancelled) or heartbeat.stopped(folder)
        raise SystemExit(0 if is_wanted_no_more else error.exit_code) from None


def _ending_when_asked(step: Step, folder: Store, rank: int) -> AbstractContextManager[None]:
    """Return a block that ends with the step: on its machine that is seen to, other nodes listen to it."""
    is_node = int(os.environ["GROUP_WORLD_SIZE"]) > 1
    return heartbeat.heeded(step, folder, rank) if is_node else nullcontext()


@contextmanager
def _scratch(job_uri: str) -> Iterator[Path]:
    """Create this process's scratch folder, inside one that all processes of a torchrun on this machine share."""
    shared = Path(tempfile.gettempdir()) / f"modelmill-{digest.of_bytes(job_uri.encode())[:12]}-{os.getppid()}"
    mine = shared / f"process-{os.environ['LOCAL_RANK']}"
    shutil.rmtree(mine, ignore_errors=True)
    mine.mkdir(parents=True)
    try:
        yield mine
    finally:
        # The first process leaves last: the others wait for it before each step, and need no file afterwards.
        shutil.rmtree(shared if os.environ["LOCAL_RANK"] == "0" else mine, ignore_errors=True)


def _share_corpus(step: Step) -> None:
    """Fetch the corpus once a machine: the first process does, and the others wait for it before they join."""
    shared = step.scratch.parent
    ready = shared / "ready"
    if os.environ["LOCAL_RANK"] == "0":
        manifest.fetch(step.store, step.inputs[CORPUS].entries, shared / "corpus")
        ready.touch()
    while not ready.exists():
        time.sleep(0.05)
    (shared / "corpus").mkdir(exist_ok=True)
    (step.scratch / "corpus").symlink_to(shared / "corpus")


def _require_devices(name: str, wanted: int) -> None:
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else wanted
    if available < wanted:
        raise UserError(
            f"{name}.devices: {wanted} GPUs are asked for and this machine has {available}; set it to {available}"
        )
