"""Encoders with the tokenizers of their families, as checkpoints for token classification."""

import json
from pathlib import Path

from modelmill.core import digest
from modelmill.corpus import checkpoint
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.data import shards
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
    data = scratch / "texts.jsonl"
    data.write_text("".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in TEXTS))
    (shard,) = shards.find(str(data), "auto")
    settings = TaggingPreprocessing(validation=1e-9, test=1e-9, sequence_length=LENGTH)
    sha256 = digest.of_file(data)
    files, _ = preprocess.encode_shard(shard, sha256, settings, described, ["a", "b"], scratch / "encoded")
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
