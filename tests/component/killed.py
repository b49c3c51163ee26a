"""A fine-tuning that is killed in the middle."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from modelmill.runtime import run_records
from modelmill.store.manifest import Manifest
from tests import zygote
from tests.component.steps import Steps


def kill_fine_tuning(steps: Steps, corpus: Manifest, pretrained: Manifest, folder: Path) -> None:
    """Start fine-tuning in a process, and kill it after a few steps.

    Args:
        steps: Steps over a store in which nothing is fine-tuned.
        corpus: The corpus.
        pretrained: The model that fine-tuning starts from.
        folder: Folder for what the step is given.
    """
    given = {"recipe": steps.key, "store": steps.store.uri, "run_id": "killed", "model": str(folder / "model")}
    for name, made in (("corpus", corpus), ("pretrained", pretrained)):
        given[name] = str(folder / name)
        Path(given[name]).write_bytes(made.to_json())
    program = f"from modelmill.components.fine_tuning.step import run; run(**{given})"
    with zygote.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        while process.poll() is None and not is_trained(steps, "killed"):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed; let it take more steps"


def is_trained(steps: Steps, run: str) -> bool:
    """Whether a run has fine-tuned for a few steps."""
    record = run_records.read_step(steps.store, run, "fine_tuning")
    at = record.progress if record else None
    return bool(at and at.text.startswith("loss") and at.done > 2)
