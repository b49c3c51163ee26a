"""The packed corpus that every peer trains on."""

import shutil
from pathlib import Path

from benchmarks.tokens import data as text
from modelmill.corpus.text.encoding import encode
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data import shards


def write(folder: Path, length: int) -> Path:
    """Write Python's standard library, and its docstrings as pairs, packed as preprocessing does; return the folder.

    Args:
        folder: Folder to write into.
        length: Tokens of a window.
    """
    packed = folder / f"packed-{length}"
    if packed.exists():
        return packed
    documents = text.write(folder, copies=1)
    chosen = LanguagePreprocessing.model_validate(
        {"split_by": "path", "sequence_length": length, "pairs": {"from": "python_docstrings"}}
    )
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for shard in shards.find(str(documents), "jsonl"):
        encode(shard, shard.tag, chosen, folder / "tokenizer", unfinished / shard.tag)
    unfinished.rename(packed)
    return packed
