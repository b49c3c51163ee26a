"""A benchmark of one model on one machine, trained by processes that take turns."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.training import start, turns
from benchmarks.training.data import SHAPES, Shape

Figures = dict[str, dict[str, Any]]
# Nats per token by which peers that trained the same model may differ: they round bf16 in different places, and we
# alone keep the documents in a window apart.
AGREED = 0.1


class Bench(NamedTuple):
    """A model and the way it is trained.

    Attributes:
        name: Name of the shape.
        corpus: Folder of the packed corpus.
        rounds: How often each process runs.
        warm_up: Steps that are not timed.
        timed: Steps that are timed.
        clock: `wall`, or `cpu` for the seconds of one processor on a machine that others use.
        turns: Whether the processes of a round start together and train one at a time. That is for devices that hold
            them all, where compilation and start take much longer than the timed steps.
    """

    name: str
    corpus: Path
    rounds: int
    warm_up: int
    timed: int
    clock: str
    turns: bool

    @property
    def shape(self) -> Shape:
        """The shape."""
        return SHAPES[self.name]

    def best(self, stage: str, peers: list[str]) -> Figures:
        """Return the fastest round of each peer, with the largest peak.

        Args:
            stage: `pretraining` or `lora`.
            peers: Names of the peers.

        Raises:
            SystemExit: A peer failed, or did not train the same model.
        """
        runs = [self._round(stage, peers) for _ in range(self.rounds)]
        peers = [peer for peer in peers if all(peer in run for run in runs)]
        losses = {run[peer]["loss"] for run in runs for peer in peers}
        if max(losses) - min(losses) > AGREED:
            raise SystemExit(f"the peers disagree: {runs[0]}")
        return {
            peer: min((run[peer] for run in runs), key=lambda one: one["step_seconds"])
            | {"peak_mib": max(run[peer]["peak_mib"] for run in runs)}
            for peer in peers
        }

    def start(self) -> dict[str, float]:
        """Return the seconds to the end of the first step, by name."""
        commands = start.commands(self.name, self.corpus)
        runs = [{name: self._start(command) for name, command in commands.items()} for _ in range(self.rounds)]
        return {name: min(run[name] for run in runs) for name in commands}

    def _start(self, command: list[str]) -> float:
        began = time.time()
        ended = json.loads(self._printed([*command, self.clock]))
        return ended if self.clock == "cpu" else ended - began

    def curve(self, peer: str, steps: int) -> dict[str, Any]:
        """Return the validation losses of a peer.

        Args:
            peer: Name of the peer.
            steps: Steps to train.
        """
        return self._last_line("loss", peer, self.name, self.corpus, steps)

    def _round(self, stage: str, peers: list[str]) -> Figures:
        timing = self.warm_up + self.timed, self.warm_up, self.clock, int(self.turns)
        commands = {peer: _command("peers", peer, stage, self.name, self.corpus, *timing) for peer in peers}
        if self.turns:
            return {peer: json.loads(line) for peer, line in turns.take(commands).items()}
        return {peer: json.loads(self._printed(command)) for peer, command in commands.items()}

    def _last_line(self, module: str, *arguments: object) -> dict[str, Any]:
        return json.loads(self._printed(_command(module, *arguments)))

    def _printed(self, command: list[str]) -> str:
        """Return the last line that a process printed."""
        threads = {"OMP_NUM_THREADS": "1"} if self.clock == "cpu" else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | threads)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return done.stdout.splitlines()[-1]


def _command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.training.{module}", *map(str, arguments)]


def ceiling() -> float:
    """Return the FLOPs a second of large bf16 matrix products, from a process that leaves the device afterwards."""
    return float(subprocess.run(_command("ceiling"), check=True, capture_output=True, text=True).stdout)
