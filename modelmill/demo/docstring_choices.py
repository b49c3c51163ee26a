"""Preferences made by a rule: the docstring of a function rather than that of its neighbour in the file."""

import json
from collections.abc import Iterator
from typing import Any

from modelmill.core.digest import fraction
from modelmill.corpus.text.pairs import Pair, python_docstrings
from modelmill.corpus.text.python_sources import standard_library

ASKED = "Write the docstring of this Python function.\n\n"
# Characters of the longest function and docstring: short ones, so that a few minutes see hundreds of them.
MOST_CODE, MOST_DOCSTRING = 500, 160
# Most pairs of one file, so that no file is most of the data.
MOST_OF_A_FILE = 2


def chat_dpo(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of preferences, by path.

    The prompt is a function of Python's standard library without its docstring. Chosen is its docstring; rejected is
    that of the next documented function in the file, for the last one that of the first. Long functions and docstrings
    are left out before, and functions that more than one file has.

    Args:
        shards: Number of files; a source file's path draws its own.

    Raises:
        UserError: This machine has no sources of the standard library.
    """
    rows: list[list[str]] = [[] for _ in range(shards)]
    met: set[str] = set()
    for path, source in standard_library().items():
        for row in choices(path, source):
            code = row["prompt"][0]["content"]
            if code not in met:
                met.add(code)
                rows[int(fraction(path) * shards)].append(json.dumps(row, ensure_ascii=False) + "\n")
    return {f"choices-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}


def choices(path: str, source: str) -> Iterator[dict[str, Any]]:
    """Yield the preferences of one file, as rows.

    Args:
        path: The file's path.
        source: Its text.
    """
    pairs = [pair for pair in python_docstrings(source) if _is_short(pair)]
    for pair, neighbour in list(zip(pairs, pairs[1:] + pairs[:1], strict=True))[:MOST_OF_A_FILE]:
        if pair.response != neighbour.response:
            yield {
                "path": path,
                "prompt": [{"role": "user", "content": ASKED + pair.prompt}],
                "chosen": [{"role": "assistant", "content": pair.response}],
                "rejected": [{"role": "assistant", "content": neighbour.response}],
            }


def _is_short(pair: Pair) -> bool:
    return len(pair.prompt) <= MOST_CODE and len(pair.response) <= MOST_DOCSTRING
