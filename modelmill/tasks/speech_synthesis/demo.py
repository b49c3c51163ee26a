"""Demo data for speech synthesis: much speech in one voice of eSpeak NG, and a little in another."""

import itertools
import json

import numpy as np

from modelmill.core.digest import fraction
from modelmill.data.media import audio
from modelmill.demo import espeak

# Half of eSpeak NG's own rate, in Hz.
RATE = 11_025
VOICES = {"anna": ("en-us+f4", 150, 55), "paul": ("en-gb-x-rp+m3", 140, 40)}
# Recordings of each voice; no text is said by both.
SPOKEN = {"anna": 700, "paul": 160}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COLOURS = ["red", "green", "blue", "yellow", "black", "white", "brown", "orange", "purple", "silver"]
THINGS = """
horses rabbits tigers windows letters pencils apples bridges tickets gardens bottles candles islands rivers doctors
planets trumpets hammers pillows lemons
"""


def speech_synthesis(shards: int) -> dict[str, bytes]:
    """Return WAV files at 11 kHz and the manifests that name them, by path.

    A recording's text draws its shard.

    Args:
        shards: Number of manifests.
    """
    import soxr

    texts = [" ".join(words) for words in itertools.product(NUMBERS, COLOURS, THINGS.split())]
    order = np.random.default_rng(0).permutation(len(texts))
    files: dict[str, bytes] = {}
    rows: list[list[str]] = [[] for _ in range(shards)]
    first = 0
    for voice, (name, speed, pitch) in VOICES.items():
        for number in order[first : first + SPOKEN[voice]].tolist():
            samples, rate = espeak.synthesise(texts[number], name, speed, pitch)
            file = f"audio/{voice}/{texts[number].replace(' ', '-')}.wav"
            files[file] = audio.encode(soxr.resample(samples, rate, RATE), RATE)
            row = {"file": file, "transcript": texts[number], "voice": voice}
            rows[int(fraction(texts[number]) * shards)].append(json.dumps(row) + "\n")
        first += SPOKEN[voice]
    manifests = {f"voices-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}
    return manifests | files


DEMOS = {"speech-synthesis": speech_synthesis}
