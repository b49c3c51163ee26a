"""Encoders with the tokenizers of their families, as checkpoints for token classification."""

from pathlib import Path

import pyarrow as pa

from modelmill.corpus import checkpoint
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.runtime.sources import architecture
from modelmill.store.manifest import Manifest
from modelmill.tasks.token_classification import bio, preprocess
from modelmill.tasks.token_classification.recipe import TaggingPreprocessing
from modelmill.tasks.token_classification.task import TokenClassification
from tests.pretrained import encoders

TITLE = "Encoders: token classification"
HEAD = "AutoModelForTokenClassification"
LENGTH = 24
TEXTS = [
    (["one", "short", "text"], ["O", "B-a", "I-a"]),
    (["why", "?"], ["B-b", "O"]),
    (["Of", "this", "is", "the", "one", "."], ["O", "O", "B-a", "I-a", "O", "O"]),
    (["two", "words"], ["B-a", "B-b"]),
]
# XLNet's types of tokens are not passed on.
FAMILIES = sorted({*encoders.FAMILIES} & architecture.with_head(HEAD).keys() - {"xlnet"})


def task_over(folder: Path, scratch: Path) -> TokenClassification:
    """A task over the texts for a checkpoint, all of them in the training split."""
    described = scratch / "checkpoint"
    checkpoint.take(folder, folder, described)
    table = pa.table({"tokens": [words for words, _ in TEXTS], "tags": [tags for _, tags in TEXTS]})
    numbers = list(range(len(TEXTS)))
    piece = Piece(table, ["train"] * len(TEXTS), numbers, [], numbers)
    settings = TaggingPreprocessing(sequence_length=LENGTH)
    with ShardedWriter(scratch) as writer:
        preprocess.write_windows(piece, writer, folder=described, content="", settings=settings, kinds=["a", "b"])
    files = writer.files()
    files |= {f"checkpoint/{file.name}": file for file in described.iterdir()}
    info = {
        "classes": bio.classes(["a", "b"]),
        "sequence_length": LENGTH,
        "words": settings.words,
        "special": {"padding": OwnTokenizer(described, LENGTH).padding},
    }
    return TokenClassification(Manifest(kind="corpus", info=info), files, None)


def task_of(family: str, folder: Path) -> tuple[TokenClassification, Path]:
    """See `tests.pretrained`."""
    encoders.write(family, folder / "model", HEAD, bio.classes(["a", "b"]))
    return task_over(folder / "model", folder), folder / "model"
