"""Folders of images and recordings for tests, each with a manifest."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

RATE = 16_000
BAR_SIDE, BAR_KINDS = 12, ["across", "down", "falling", "rising"]


def png(value: int = 128, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    """An image of one colour; `size` is width and height."""
    return encoded(Image.new(mode, size, value if mode == "L" else (value,) * len(mode)))


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, exif=image.getexif())
    return sink.getvalue()


def tone(seconds: float = 0.5, amplitude: float = 0.5, rate: int = RATE, hertz: float = 440) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def sound(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format=format, subtype=subtype)
    return sink.getvalue()


def write(folder: Path, files: dict[str, bytes], named: list[str] | None = None, manifest: str = "a.csv") -> Path:
    """Files, and a manifest that names them, or others, each with a label."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    names = list(files) if named is None else named
    rows = [f"{name},{place % 2}" for place, name in enumerate(names)]
    (folder / manifest).write_text("\n".join(["file,label", *rows]) + "\n")
    return folder


def bar(kind: str, number: int) -> tuple[np.ndarray, np.random.Generator]:
    """Where a bar is, bool, (BAR_SIDE, BAR_SIDE), and draws for how it looks."""
    draws = np.random.default_rng([BAR_KINDS.index(kind), number])
    y, x = np.mgrid[:BAR_SIDE, :BAR_SIDE] - BAR_SIDE / 2
    distance = {"across": y, "down": x, "falling": (x - y) / 2**0.5, "rising": (x + y) / 2**0.5}[kind]
    return np.abs(distance - draws.uniform(-3, 3)) < 1.2, draws


def grey(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def write_bars(folder: Path, draw: Callable[[str, int], bytes], count: int, more: dict[str, tuple[str, bytes]]) -> None:
    """So many bars of each kind, and `more` images by their names, each with its label."""
    images = {f"{kind}-{n}": (kind, draw(kind, n)) for kind in BAR_KINDS for n in range(count)} | more
    (folder / "images").mkdir(parents=True)
    for name, (_, data) in images.items():
        (folder / "images" / f"{name}.png").write_bytes(data)
    lines = [f"images/{name}.png,{label}" for name, (label, _) in images.items()]
    (folder / "bars.csv").write_text("\n".join(["file,kind", *lines]) + "\n")
