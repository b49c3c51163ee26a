"""SentencePiece models of a few pieces, made without that library, and what it makes of texts (0.2.3)."""

from pathlib import Path

# Pieces and their scores; the first two are what is unknown and what ends a text.
SPECIAL = [("<unk>", 0.0), ("</s>", 0.0)]
SOURCE = [*SPECIAL, ("▁", -3.0), ("▁a", -2.0), ("▁word", -1.0), ("wor", -2.5), ("s", -2.0), ("d", -2.0), (",", -2.0)]
TARGET = [*SPECIAL, ("▁", -3.0), ("▁oh", -1.0), ("▁ja", -1.0), ("o", -2.0), ("h", -2.0), ("s", -2.0), ("☃☃", -1.0)]
# In the order in which they are merged.
MERGED = [*SPECIAL, ("wo", -0.0), ("▁wo", -1.0), ("rd", -2.0), ("▁word", -3.0)]
MERGED += [(letter, -4.0 - number) for number, letter in enumerate("▁words,a")]
TEXTS = ["a word", "words,  a", " wor ☃☃ word☃s", "oh ja", "</s> <unk>", ""]


def model(pieces: list[tuple[str, float]], kind: int) -> bytes:
    """A model of a kind, 1 for unigrams and 2 for merges, which changes nothing but spaces."""
    from transformers.utils.sentencepiece_model_pb2_new import ModelProto

    proto = ModelProto()
    for number, (piece, score) in enumerate(pieces):
        proto.pieces.add(piece=piece, score=score, type={0: 2, 1: 3}.get(number, 1))
    proto.trainer_spec.model_type = kind
    proto.normalizer_spec.name = "identity"
    return proto.SerializeToString()


def write(folder: Path, name: str, pieces: list[tuple[str, float]], kind: int = 1) -> None:
    """A model's file in a folder."""
    (folder / name).write_bytes(model(pieces, kind))
