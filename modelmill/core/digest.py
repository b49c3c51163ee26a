"""SHA-256 of bytes, files and JSON values. Equal values have equal digests on every machine."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Return a value as UTF-8 JSON with sorted keys and no spaces: one byte string per value.

    Raises:
        ValueError: The value holds NaN or infinity, which JSON does not have.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def of_bytes(data: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def of_json(value: Any) -> str:
    """Return the sha256 of a value as canonical JSON."""
    return of_bytes(canonical_json(value))


def of_stream(stream: BinaryIO) -> str:
    """Return the sha256 of what is left of a stream."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return of_stream(stream)


def fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone and is uniform over texts; splits are drawn by it."""
    return int(of_bytes(text.encode("utf-8", "surrogatepass"))[:13], 16) / 16**13
