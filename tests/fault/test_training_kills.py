"""A training that is killed again and again, in the middle of checkpoints too, ends with the same bits."""

import multiprocessing
import random
import time
from pathlib import Path

from tests.fault import training_process

KILLS = 20
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.fault.training_process"])


def started(folder: Path, name: str) -> multiprocessing.process.BaseProcess:
    arguments = (folder, f"file://{folder / name}", folder / f"{name}.safetensors")
    process = PROCESSES.Process(target=training_process.run, args=arguments)
    process.start()
    return process


def test_twenty_kills_at_random_moments_do_not_change_a_bit(tmp_path: Path) -> None:
    training_process.write_rows(tmp_path)
    began = time.monotonic()
    whole = started(tmp_path, "whole")
    whole.join()
    assert whole.exitcode == 0
    seconds, moment, kills = time.monotonic() - began, random.Random(), 0
    for _ in range(KILLS):
        process = started(tmp_path, "cut")
        process.join(timeout=moment.random() * seconds / 8)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
    assert kills == KILLS, "it was finished too early to be killed so often"
    last = started(tmp_path, "cut")
    last.join()
    assert last.exitcode == 0
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
