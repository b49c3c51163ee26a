"""Seconds from the start of a process to the end of its first step: our engine, and a bare torch script.

Run as `python -m benchmarks.training.start SHAPE CORPUS COMPILED`: ours; prints the time of the first step's end.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def seconds(name: str, shape: str, corpus: Path, compiled: str) -> float:
    """Of one process; `compiled` is that or `as written`."""
    command = {"modelmill": _ours, "bare script": _bare}[name](shape, corpus, compiled)
    started = time.time()
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return float(ended.split()[-1]) - started


def _ours(shape: str, corpus: Path, compiled: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.training.start", shape, str(corpus), compiled]


def _bare(shape: str, corpus: Path, compiled: str) -> list[str]:
    from benchmarks.training.data import SHAPES

    its = SHAPES[shape]
    config: dict[str, Any] = {"vocab_size": its.vocabulary, **its.model.model_dump(exclude={"type"})}
    tokens = next(corpus.glob("*/train/documents.tokens.npy"))
    script = Path(__file__).with_name("bare.py")
    return [sys.executable, str(script), json.dumps(config), str(tokens), str(its.batch), str(its.length), compiled]


def main(shape: str, corpus: str, compiled: str) -> None:
    """The engine, with the imports of the pretraining step and all that it does before the first step."""
    from benchmarks.training import data
    from components.common.store import open_store
    from components.pretraining import step  # noqa: F401  the step's own imports count
    from components.training import device, stage  # noqa: F401
    from components.training.checkpoint import Checkpoints
    from components.training.engine import train

    def end(done: float, *_: object) -> None:
        if done >= 1:
            print(time.time(), flush=True)
            os._exit(0)

    device.reuse_freed_memory()
    device.seed_everything(data.SEED)
    its = data.SHAPES[shape]
    task = data.open_task(Path(corpus), its)
    settings = data.settings(its, steps=2, compile="on" if compiled == "compiled" else "off")
    examples = [task.examples("pretraining", split) for split in data.SPLITS]
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(open_store(f"file://{scratch}/store"), "bench", Path(scratch))
        train(data.first_model(task), task, *examples, settings, data.SEED, checkpoints, end)


if __name__ == "__main__":
    main(*sys.argv[1:])
