"""Held-out examples as a person sees them in the report, beside what the model makes of them.

An evaluation hands on a list of them as its file `samples.json`.
"""

import base64
from typing import Any

Sample = dict[str, Any]
FILE = "samples.json"


def text(**parts: str) -> Sample:
    """Return texts side by side, each under its name."""
    return {"kind": "text", "parts": parts}


def image(png: bytes, caption: str) -> Sample:
    """Return a small picture; consecutive ones are shown as a grid."""
    return {"kind": "image", "png": _encoded(png), "caption": caption}


def boxes(png: bytes, size: tuple[int, int], truth: list[Sample], found: list[Sample]) -> Sample:
    """Return a picture with boxes.

    Args:
        png: The picture.
        size: Its width and height in pixels.
        truth: The true boxes: `box` ([left, top, right, bottom] in pixels) and `label`.
        found: The model's boxes: `box`, `label` and `score`.
    """
    return {"kind": "boxes", "png": _encoded(png), "size": list(size), "truth": truth, "found": found}


def audio(wav: bytes, caption: str) -> Sample:
    """Return a sound with a player."""
    return {"kind": "audio", "wav": _encoded(wav), "caption": caption}


def ranking(given: list[str], ranked: list[str], expected: str) -> Sample:
    """Return a ranking, best first; `expected` is marked in the list or said to be missing.

    Args:
        given: The items that the model knew.
        ranked: The items that it ranks highest.
        expected: The item that came next.
    """
    return {"kind": "ranking", "given": given, "ranked": ranked, "expected": expected}


def conversation(messages: list[Sample], tools: list[str]) -> Sample:
    """Return a whole conversation, in which some messages have several versions side by side.

    Args:
        messages: What `message` and `answers` return, in order.
        tools: Names of the tools that it offers.
    """
    return {"kind": "conversation", "messages": messages, "tools": tools}


def message(role: str, content: str) -> Sample:
    """Return a message of a conversation."""
    return {"role": role, "content": content}


def answers(role: str, versions: dict[str, str]) -> Sample:
    """Return a message of a conversation in several versions.

    Args:
        role: Who says it.
        versions: What is said, by the version's name.
    """
    return {"role": role, "versions": versions}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
