"""Recordings that are cheap to make and easy to hear: each letter is a tone of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.data.media.audio import encode

RATE = 8_000
SECONDS = 0.08
LETTERS = {"a": 300, "b": 700, "c": 1_400, "d": 2_600, " ": 0}


def spoken(text: str, pitch: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A tone for each letter, with a short fall at its end, and silence for a space."""
    time = np.arange(round(SECONDS * rate)) / rate
    envelope = np.minimum(1, np.arange(len(time))[::-1] / (0.02 * rate))
    return np.concatenate([0.4 * envelope * np.sin(2 * np.pi * pitch * LETTERS[letter] * time) for letter in text])


def write(folder: Path, texts: dict[str, list[str]], speakers: int = 11, **pitches: float) -> list[dict[str, Any]]:
    """Recordings of the texts of each kind, said by speakers in turn, or at the kind's pitch, and their manifest;
    returns its rows.
    """
    (folder / "audio").mkdir(parents=True)
    noise = np.random.default_rng(0)
    rows = []
    for kind, some in texts.items():
        for number, text in enumerate(some):
            speaker = number % speakers
            samples = spoken(text, pitches.get(kind, 1 + 0.02 * (speaker - speakers / 2)))
            name = f"audio/{kind}-{number}.wav"
            (folder / name).write_bytes(encode(samples + noise.normal(0, 0.003, len(samples)), RATE))
            rows.append({"file": name, "transcript": text, "speaker": f"who{speaker}", "kind": kind})
    write_manifest(folder, rows)
    return rows


def write_manifest(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
