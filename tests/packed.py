"""Packed tokens for tests of the engine."""

from pathlib import Path

import numpy as np

from modelmill.corpus.packing import pack_documents
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.task import LanguageModeling


def language_task(folder: Path, documents: list[list[int]], length: int) -> LanguageModeling:
    """A tiny decoder over documents that are given as token ids, all of them in the training split."""
    packed = pack_documents(documents, 0, np.dtype(np.uint16))
    files = {}
    for name, array in (("tokens", packed.tokens), ("offsets", packed.offsets)):
        files[f"train/00000.documents.{name}.npy"] = folder / f"{name}.npy"
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    info = {"sequence_length": length, "vocab_size": 64, "end_of_text": 0}
    settings = DecoderModel(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    return LanguageModeling(Manifest(kind="corpus", info=info), files, settings)
