"""The images and recordings of a data set's rows as arrays."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data.media.unusable import Unusable
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Step

T = TypeVar("T")
# Files that are decoded at a time, and as arrays wait to be taken.
_READERS = 8


class File(NamedTuple):
    """A file that a manifest of images or recordings names.

    Attributes:
        shard: The manifest.
        name: The file's name in it.
        sha256: Digest that its bytes must have; empty where they were checked just now.
    """

    shard: Shard
    name: str
    sha256: str = ""


def images(files: Sequence[File], channels: int = 3) -> Iterator[np.ndarray]:
    """Yield the pixels of each image in order, uint8, (height, width, channels).

    Args:
        files: The images.
        channels: 1 for grey, 3 for RGB.

    Raises:
        UserError: A file cannot be decoded; the message names it.
    """
    from modelmill.data.media.images import decode

    return _decoded(files, partial(decode, channels=channels))


def encoded_images(files: Sequence[File]) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield each image in order as its file and as pixels, uint8, (height, width, 3).

    Args:
        files: The images.

    Raises:
        UserError: A file cannot be decoded; the message names it.
    """
    from modelmill.data.media.images import decode

    return _decoded(files, lambda data: (data, decode(data)))


def squares(step: Step, files: Sequence[File], settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return images scaled and cut to squares of one size.

    Args:
        step: The running step.
        files: The images.
        settings: The recipe's `preprocessing`: `size`, `channels` and `small`, which says what becomes of an image that
            is smaller (`refuse`, `drop` or `enlarge`).

    Returns:
        The images that are used, uint8, (images, channels, size, size), and which these are, bool, (files,).

    Raises:
        UserError: A file cannot be decoded, or is too small and the recipe refuses such; the message names it.
    """
    from modelmill.data.media.images import fitted

    size = settings.size
    pixels = np.empty((len(files), settings.channels, size, size), np.uint8)
    is_used = np.ones(len(files), bool)
    for place, image in enumerate(images(files, settings.channels)):
        if place % 1000 == 0:
            step.progress(place, len(files), "decoding")
        height, width = image.shape[:2]
        is_used[place] = is_large(files[place], width, height, settings)
        if is_used[place]:
            pixels[place] = fitted(image, size).transpose(2, 0, 1)
    return pixels[is_used], is_used


def is_large(file: File, width: int, height: int, settings: Any) -> bool:
    """Return whether an image is used.

    Args:
        file: The image.
        width: Its width in pixels.
        height: Its height in pixels.
        settings: The recipe's `preprocessing`; see `squares`.

    Raises:
        UserError: It is too small, and the recipe refuses such; the message names it.
    """
    if min(height, width) >= settings.size or settings.small == "enlarge":
        return True
    if settings.small == "refuse":
        raise UserError(
            f"{file.shard.uri}: {file.name}: {width} x {height} pixels, fewer than preprocessing.size, "
            f"{settings.size}; lower that, or set preprocessing.small: drop (or enlarge)"
        )
    return False


def recordings(
    files: Sequence[File], rate: int, resample: bool = False, met: set[int] | None = None
) -> Iterator[np.ndarray]:
    """Yield the samples of each recording in order, float32, (samples,): the mean of its channels.

    Args:
        files: The recordings.
        rate: The wanted sample rate in Hz.
        resample: Whether a recording of another rate is resampled rather than refused.
        met: Gets the rates that recordings have.

    Raises:
        UserError: A file cannot be decoded, or has another rate and is not to be resampled; the message names it.
    """
    from modelmill.data.media.audio import decode

    return _decoded(files, partial(decode, rate=rate, resample=resample, met=met))


def contents(files: Sequence[File]) -> Iterator[bytes]:
    """Yield the bytes of each file in order.

    Args:
        files: The files.

    Raises:
        UserError: A file cannot be read; the message names it.
    """
    return _decoded(files, bytes)


def _decoded(files: Sequence[File], decode: Callable[[bytes], T]) -> Iterator[T]:
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(files), _READERS):
            yield from pool.map(partial(_one, decode), files[start : start + _READERS])


def _one(decode: Callable[[bytes], T], file: File) -> T:
    assert file.shard.media is not None
    try:
        content = file.shard.media.content(file.name)
        if file.sha256 and digest.of_bytes(content) != file.sha256:
            raise UserError(f"{file.shard.uri}: {file.name}: changed since it was validated; run again")
        return decode(content)
    except Unusable as error:
        raise UserError(f"{file.shard.uri}: {file.name}: {error}") from None
