"""One shard of documents as token arrays."""

from pathlib import Path

import numpy as np

from components.common.recipe.language_modeling import LanguagePreprocessing
from components.common.shards import Shard
from components.preprocessing import documents, packing, tokenizer
from components.preprocessing.packing import Packed
from components.preprocessing.split import SPLITS


def encode(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, folder: Path, target: Path
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Read, split, tokenise and pack one shard into .npy files below `target`; the files and what they hold."""
    trained = tokenizer.load(folder)
    vocabulary = tokenizer.vocabulary(folder)
    dtype = packing.token_type(vocabulary.size)

    def ids(texts: list[str]) -> list[list[int]]:
        return [e.ids for e in trained.encode_batch_fast(texts, add_special_tokens=False)]

    found = list(documents.read(shard, sha256, settings))
    files: dict[str, Path] = {}
    counts = {}
    for split in SPLITS:
        texts = [d.text for d in found if d.split == split]
        pairs = [p for d in found if d.split == split for p in d.pairs]
        packed = packing.pack_documents(ids(texts), vocabulary.end, dtype)
        prompts, responses = ids([p.prompt for p in pairs]), ids([p.response for p in pairs])
        packed_pairs = packing.pack_pairs(
            list(zip(prompts, responses, strict=True)),
            vocabulary.end,
            vocabulary.separator,
            settings.sequence_length,
            dtype,
        )
        files |= _write(target, f"{split}/documents", packed) if texts else {}
        files |= _write(target, f"{split}/pairs", packed_pairs) if pairs else {}
        counts[split] = {
            "documents": len(texts),
            "bytes": sum(len(t.encode()) for t in texts),
            "tokens": len(packed.tokens) - 1 if texts else 0,
            "pairs": len(pairs),
            "response_tokens": int(packed_pairs.learned.sum()) if packed_pairs.learned is not None else 0,
        }
    return files, counts


def _write(folder: Path, stem: str, packed: Packed) -> dict[str, Path]:
    arrays = {"tokens": packed.tokens, "offsets": packed.offsets, "learned": packed.learned}
    files = {}
    for kind, array in arrays.items():
        if array is not None:
            name = f"{stem}.{kind}.npy"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder / name, array, allow_pickle=False)
            files[name] = folder / name
    return files
