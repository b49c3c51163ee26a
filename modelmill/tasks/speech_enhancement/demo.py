"""Demo data for speech enhancement: eSpeak NG's speech under recorded noise and the babble of other voices."""

import importlib.metadata
import json
from pathlib import Path

import numpy as np

from modelmill.core.digest import fraction
from modelmill.core.errors import UserError
from modelmill.data.media import audio
from modelmill.demo import espeak

RATE = 8_000
# In a train, and in a rain forest: recordings that the package ambience ships.
RECORDED = {"train": "town/train.ogg", "forest": "nature/amazon-rainforest.ogg"}
KINDS = (*RECORDED, "babble")
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan")
MEN, WOMEN = [f"m{n}" for n in range(1, 9)], ["f1", "f4"]
VARIANTS = [*MEN, *WOMEN, "Alex", "Andrea", "Andy", "Annie", "linda", "belinda"]
# Sentences of these parts, as in the tests of hearing in noise (Hagerman, 1982).
PARTS = (
    ["Anna", "Peter", "Lucy", "Thomas", "Nina", "Stephen", "Kathy", "William", "Rachel", "Allen"],
    ["bought", "gave", "got", "has", "kept", "ordered", "prefers", "sees", "sold", "wants"],
    ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"],
    ["red", "green", "dark", "cheap", "heavy", "large", "old", "pretty", "small", "strange"],
    ["chairs", "desks", "flowers", "houses", "knives", "rings", "ships", "sofas", "spoons", "windows"],
)
CLEAN, NOISY = 900, 500
BABBLE = 6  # voices
LOWEST, HIGHEST = -5.0, 10.0  # signal-to-noise ratios in dB


def speech_enhancement(shards: int) -> dict[str, bytes]:
    """Return WAV files, and the manifests that name them, by path.

    A noisy recording and its clean one have the same `utterance`.

    Args:
        shards: Number of manifests.
    """
    draw = np.random.default_rng(0)
    recorded = {name: _recorded(file) for name, file in RECORDED.items()}
    files: dict[str, bytes] = {}
    rows: list[list[str]] = [[] for _ in range(shards)]
    for number in range(CLEAN):
        utterance = f"{number:05d}"
        clean = say(draw)
        name, kind, noisy = f"clean/{utterance}.wav", "none", None
        if number < NOISY:
            kind = KINDS[number % len(KINDS)]
            noise = babble(draw, len(clean)) if kind == "babble" else _part(recorded[kind], len(clean), draw)
            noisy, clean = _mixed(clean, noise, draw)
        written = [(name, clean, "", "none")]
        written += [] if noisy is None else [(f"noisy/{utterance}.wav", noisy, name, kind)]
        for name, samples, target, its in written:
            files[name] = audio.encode(samples, RATE)
            row = {"file": name, "clean": target, "utterance": utterance, "noise": its}
            rows[int(fraction(utterance) * shards)].append(json.dumps(row) + "\n")
    manifests = {f"speech-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}
    return files | manifests


def say(draw: np.random.Generator) -> np.ndarray:
    """Return a sentence in some voice, half as loud as can be: float32, (samples,)."""
    import soxr

    text = " ".join(str(draw.choice(part)) for part in PARTS)
    voice = f"{draw.choice(ACCENTS)}+{draw.choice(VARIANTS)}"
    samples, rate = espeak.synthesise(text, voice, int(draw.integers(140, 200)), int(draw.integers(25, 75)))
    samples = soxr.resample(samples, rate, RATE)
    said: np.ndarray = samples * (0.5 / np.abs(samples).max())
    return said


def babble(draw: np.random.Generator, samples: int) -> np.ndarray:
    """Return several voices at once.

    Args:
        draw: The random numbers.
        samples: Length of the recording.
    """
    voices = [np.resize(np.roll(say(draw), int(draw.integers(RATE))), samples) for _ in range(BABBLE)]
    together: np.ndarray = np.sum(voices, axis=0)
    return together


def _mixed(clean: np.ndarray, noise: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the noisy and the clean recording, both softer by the same factor where the noisy one would be clipped."""
    ratio = draw.uniform(LOWEST, HIGHEST)
    noise = noise * np.sqrt(np.square(clean).mean() / max(np.square(noise).mean(), 1e-12) / 10 ** (ratio / 10))
    gain = min(1.0, 0.9 / float(np.abs(clean + noise).max()))
    return (clean + noise) * gain, clean * gain


def _part(recording: np.ndarray, samples: int, draw: np.random.Generator) -> np.ndarray:
    start = int(draw.integers(0, len(recording) - samples))
    return recording[start : start + samples]


def _recorded(file: str) -> np.ndarray:
    """Return a recording's channels, averaged, at RATE."""
    import soundfile
    import soxr

    try:
        path = Path(str(importlib.metadata.distribution("ambience").locate_file(f"sounds/{file}")))
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (importlib.metadata.PackageNotFoundError, soundfile.LibsndfileError):
        raise UserError(
            "demo-data speech-enhancement: its noise is that of the package ambience: pip install 'modelmill[demo]'"
        ) from None
    resampled: np.ndarray = soxr.resample(samples.mean(axis=1), rate, RATE)
    return resampled


DEMOS = {"speech-enhancement": speech_enhancement}
