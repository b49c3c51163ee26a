"""`make bench-train`: the training engine against its peers, in one run on one machine."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_data import machine
from benchmarks.training import data, loss, start
from benchmarks.training.peers import PEERS
from components.training import device

OURS, SAVING, TRAINER = "modelmill", "modelmill, a checkpoint every step", "Hugging Face Trainer"
PARTS = ("pretraining", "lora", "checkpoints", "start", "loss")
LORA_PEERS = [peer for peer in PEERS if peer.startswith((OURS, TRAINER)) and peer != SAVING]
RESULTS = Path(__file__).parent / "results"

Figures = dict[str, dict[str, Any]]


def main() -> None:
    on = device.pick_device().type
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments.add_argument("--shapes", nargs="+", choices=data.SHAPES, default=data.SHAPES_OF_DEVICE[on])
    arguments.add_argument("--peers", nargs="+", choices=PEERS, default=[peer for peer in PEERS if peer != SAVING])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=16, help="that are timed")
    arguments.add_argument("--warm-up", type=int, default=4, help="steps before them")
    arguments.add_argument("--loss-steps", type=int, default=250)
    arguments.add_argument("--folder", type=Path, help="keep the corpora here and use them again")
    chosen = arguments.parse_args()
    print(f"{machine()}, torch {torch.__version__}; trained on {_name_of(on)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        corpora = {shape: data.write(folder, data.SHAPES[shape].length) for shape in chosen.shapes}
        for part in chosen.parts:
            globals()[f"show_{part}"](corpora, chosen)


def _name_of(device_type: str) -> str:
    return torch.cuda.get_device_name() if device_type == "cuda" else "the CPU"
