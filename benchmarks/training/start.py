"""Seconds from the start of a process to the end of its first step: our engine, and a bare torch script.

Run as `python -m benchmarks.training.start SHAPE CORPUS CLOCK` for ours; it prints when the first step ended.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.training.data import SHAPES


def commands(shape: str, corpus: Path) -> dict[str, list[str]]:
    """Return the commands of the processes, by name; the clock is one more argument.

    Args:
        shape: Name of the shape.
        corpus: Folder of the packed corpus.
    """
    its = SHAPES[shape]
    config: dict[str, Any] = {"vocab_size": its.vocabulary, **its.model.model_dump(exclude={"type"})}
    tokens = next(corpus.glob("*/train/documents.tokens.npy"))
    script = str(Path(__file__).with_name("bare.py"))
    return {
        "modelmill": [sys.executable, "-m", "benchmarks.training.start", shape, str(corpus)],
        "bare script": [sys.executable, script, json.dumps(config), str(tokens), str(its.batch), str(its.length)],
    }


def main(shape: str, corpus: str, clock: str) -> None:
    """Train one step with the engine, after all the imports and work of the pretraining step.

    Args:
        shape: Name of the shape.
        corpus: Folder of the packed corpus.
        clock: `wall` or `cpu`.
    """
    from benchmarks.training import data
    from modelmill.components.pretraining import step  # noqa: F401  the step's own imports count
    from modelmill.store import open_store
    from modelmill.training.device import determinism, hardware
    from modelmill.training.loop import stage  # noqa: F401
    from modelmill.training.loop.checkpoint import Checkpoints
    from modelmill.training.loop.engine import train

    def end(done: float, *_: object) -> None:
        if done >= 1:
            print(time.process_time() if clock == "cpu" else time.time(), flush=True)
            os._exit(0)

    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    its = data.SHAPES[shape]
    task = data.open_task(Path(corpus), its)
    settings = data.settings(its, steps=2, compile="off")
    examples = data.splits(task, "pretraining")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(open_store(f"file://{scratch}/store"), "bench", Path(scratch))
        train(data.first_model(task), task, *examples, settings, data.SEED, checkpoints, end)


if __name__ == "__main__":
    main(*sys.argv[1:])
