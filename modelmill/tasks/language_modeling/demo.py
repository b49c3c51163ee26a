"""Demo data for language modeling: Python's standard library, a file a document; dialogues; preferences."""

import json

from modelmill.core.digest import fraction
from modelmill.corpus.text.python_sources import standard_library
from modelmill.demo.chitchat import chat_sft
from modelmill.demo.docstring_choices import chat_dpo


def python_lm(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of documents, by path.

    A source file's path draws its shard, so that one file more or less changes one shard.

    Args:
        shards: Number of files.
    """
    rows: list[list[str]] = [[] for _ in range(shards)]
    for path, text in standard_library().items():
        rows[int(fraction(path) * shards)].append(_row(path, text))
    return {f"stdlib-{i:05d}.jsonl": "".join(lines).encode() for i, lines in enumerate(rows) if lines}


def _row(path: str, text: str) -> str:
    """Return one line of JSON."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    row = {"path": path, "text": text, "module": module, "bytes": len(text.encode())}
    return json.dumps(row, ensure_ascii=False) + "\n"


DEMOS = {"python-lm": python_lm, "chat-sft": chat_sft, "chat-dpo": chat_dpo}
