"""The text that every peer tokenises: copies of Python's standard library, each a little different."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from modelmill.core.digest import fraction
from modelmill.corpus.text import tokenizer
from modelmill.pipelines import demo_data

SHARDS = 8
VOCABULARY = 4096
# Copy 0 is the library as it is; in the others one name in four is renamed.
_NAME = re.compile(r"[A-Za-z_]{5,}")
_RENAMED = 0.25


def write(folder: Path, copies: int) -> Path:
    """Write copies of the library in eight JSONL shards, the same every time, and return the folder of the shards.

    The tokenizer, trained on one copy, is beside them.

    Args:
        folder: Folder to write into.
        copies: How many copies, 12 MB each.
    """
    shards = folder / f"copies-{copies}"
    if shards.exists():
        return shards
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    library = [file.read_text("utf-8") for file in demo_data.write("python-lm", folder / "library", SHARDS)]
    rows = [[json.loads(line) for line in text.splitlines()] for text in library]
    unfinished.mkdir()
    for number, shard in enumerate(rows):
        with open(unfinished / f"part-{number:02d}.jsonl", "w", encoding="utf-8") as file:
            for copy in range(copies):
                file.writelines(json.dumps(_copied(row, copy), ensure_ascii=False) + "\n" for row in shard)
    tokenizer.train((row["text"] for shard in rows for row in shard), VOCABULARY, folder / "tokenizer")
    unfinished.rename(shards)
    return shards


def _copied(row: dict[str, Any], copy: int) -> dict[str, Any]:
    """Return a row of a copy: a quarter of its names, other ones in every copy, end in the copy's number."""
    names: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        name = match[0]
        if name not in names:
            names[name] = f"{name}{copy}" if copy and fraction(f"{copy}:{name}") < _RENAMED else name
        return names[name]

    return {"path": f"{copy}/{row['path']}", "text": _NAME.sub(renamed, row["text"])}
