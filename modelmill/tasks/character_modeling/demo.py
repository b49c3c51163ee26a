"""Demo data for character modeling: Python's standard library, its code without docstrings and its docstrings."""

import json

from modelmill.core.digest import fraction
from modelmill.corpus.text.python_sources import standard_library, taken_apart

# Shorter docstrings say next to nothing, and many are alike.
MIN_DOCSTRING = 40


def char_rnn(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files with a row for each source file and each docstring, by path.

    The path of the source file draws a row's shard, and its split later. Of equal docstrings the first is kept.

    Args:
        shards: Number of files.
    """
    rows: list[list[str]] = [[] for _ in range(shards)]
    met: set[str] = set()
    for path, source in standard_library().items():
        code, docstrings = taken_apart(source)
        new = [text for text in dict.fromkeys(docstrings) if text not in met and len(text) >= MIN_DOCSTRING]
        met.update(new)
        own = rows[int(fraction(path) * shards)]
        own += [_row(path, "code", code)] if code.strip() else []
        own += [_row(path, "docstring", text) for text in new]
    return {f"stdlib-{i:05d}.jsonl": "".join(lines).encode() for i, lines in enumerate(rows) if lines}


def _row(path: str, kind: str, text: str) -> str:
    row = {"path": path, "kind": kind, "text": text, "bytes": len(text.encode())}
    return json.dumps(row, ensure_ascii=False) + "\n"


DEMOS = {"char-rnn": char_rnn}
