"""Demo data for speech recognition: eSpeak NG says digits in many voices, and other words for pretraining."""

import json
from typing import NamedTuple

import numpy as np

from modelmill.core.digest import fraction
from modelmill.data.media import audio
from modelmill.demo import espeak

RATE = 8_000
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# Words of a telephone service, none of them a digit: commands, colours, days, months, animals, food.
_WORDS = """
yes no up down left right on off stop go open close start end begin wait next back help cancel repeat again more less
red green blue yellow black white brown grey orange purple monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december spring summer autumn winter
cat dog bird fish horse cow sheep lion tiger bear mouse rabbit apple banana cherry bread butter cheese water coffee
sugar salt pepper milk music radio light window door garden kitchen house street river mountain ocean forest island
morning evening night today tomorrow yesterday hour minute second week year north south east west price number name
friend family doctor teacher letter paper pencil table chair clock phone travel ticket train ship plane bridge
"""
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan")
_VARIANTS = """
m1 m2 m3 m4 m5 m6 m7 m8 f1 f4 Alex Andrea Andy Annie adam anika antonio aunty belinda benjamin boris david ed edward
gustave ian john linda marcelo max michel miguel norbert pablo paul pedro quincy rob robert shelby steph travis zac
"""
WORDS, VARIANTS = _WORDS.split(), _VARIANTS.split()
# Recordings of each speaker.
SPOKEN = {"words": 50, "digits": 12}


class Utterance(NamedTuple):
    """An utterance to synthesise.

    Attributes:
        speaker: Name of the speaker.
        voice: Accent and variant, as eSpeak NG names them.
        kind: `words` or `digits`.
        text: The words.
        rate: Words a minute.
        pitch: From 0 to 100.
        noise: How far the noise is below the speech, in dB.
    """

    speaker: str
    voice: str
    kind: str
    text: str
    rate: int
    pitch: int
    noise: float


def speech_recognition(shards: int) -> dict[str, bytes]:
    """Return WAV files at 8 kHz and the manifests that name them, by path.

    A speaker's name draws the shard of all its recordings.

    Args:
        shards: Number of manifests.
    """
    files: dict[str, bytes] = {}
    rows: list[list[str]] = [[] for _ in range(shards)]
    for number, one in enumerate(utterances()):
        name = f"audio/{one.speaker}/{one.kind}-{number:05d}.wav"
        files[name] = audio.encode(spoken(one, number), RATE)
        row = {"file": name, "transcript": one.text, "speaker": one.speaker, "kind": one.kind}
        rows[int(fraction(one.speaker) * shards)].append(json.dumps(row) + "\n")
    manifests = {f"speech-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}
    return manifests | files


def utterances() -> list[Utterance]:
    """Return the utterances of all speakers: one to three words, or one to four digits.

    Each speaker has one accent, and a speed and a pitch that vary little.
    """
    draw = np.random.default_rng(0)
    planned = []
    for number, variant in enumerate(VARIANTS):
        accent = ACCENTS[number % len(ACCENTS)]
        speed, pitch = draw.integers(130, 190), draw.integers(30, 70)
        for kind, count in SPOKEN.items():
            vocabulary, most = (WORDS, 3) if kind == "words" else (DIGITS, 4)
            for _ in range(count):
                text = " ".join(draw.choice(vocabulary, draw.integers(1, most + 1)))
                rate, high = int(speed + draw.integers(-15, 16)), int(pitch + draw.integers(-8, 9))
                noise = float(draw.uniform(12, 30))
                planned.append(Utterance(f"{variant.lower()}", f"{accent}+{variant}", kind, text, rate, high, noise))
    return planned


def spoken(one: Utterance, seed: int) -> np.ndarray:
    """Return an utterance at RATE with white noise, half as loud as can be: float32, (samples,).

    Args:
        one: The utterance.
        seed: Seed of the noise.
    """
    import soxr

    samples, rate = espeak.synthesise(one.text, one.voice, one.rate, one.pitch)
    samples = soxr.resample(samples, rate, RATE)
    samples *= 0.5 / np.abs(samples).max()
    loudness = np.sqrt(np.square(samples).mean()) * 10 ** (-one.noise / 20)
    noisy: np.ndarray = samples + loudness * np.random.default_rng(seed).standard_normal(len(samples), np.float32)
    return noisy


DEMOS = {"speech-recognition": speech_recognition}
