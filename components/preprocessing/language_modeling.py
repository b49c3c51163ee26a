"""Text into packed token arrays: split, fit the tokenizer on the training split, encode the shards in parallel."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.common import digest, fitted, lifetime, manifest, shards, sources, weights
from components.common.errors import UserError
from components.common.manifest import Manifest
from components.common.recipe.language_modeling import LanguageModelingRecipe, LanguagePreprocessing
from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import packing, tokenizer
from components.preprocessing.packing import Packed
from components.preprocessing.pairs import Pair, python_docstrings
from components.preprocessing.shard_cache import Encoded, ShardCache
from components.preprocessing.split import SPLITS, split_of


class Document(NamedTuple):
    split: str
    text: str
    pairs: list[Pair]


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """
    Args:
        found: the dataset's shards, each with the sha256 that was validated.
    Raises:
        UserError: a column is missing or null, a shard has changed, or a split would be empty.
    """
    recipe = step.recipe
    assert isinstance(recipe, LanguageModelingRecipe)
    settings = recipe.preprocessing
    step.progress(0, len(found) + 1, "tokenizer")
    folder, settled = _tokenizer(step, found, settings)
    encoded, new = _encode_all(step, found, settings, folder)
    counts = {split: _add_up([e.counts[split] for e in encoded]) for split in SPLITS}
    _require_examples(counts, settings)
    vocabulary = tokenizer.vocabulary(folder)
    entries = [manifest.add_file(step.store, folder / name, f"tokenizer/{name}") for name in weights.TOKENIZER]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    corpus = Manifest(
        kind="corpus",
        entries=entries,
        made_from=step.digests,
        info={
            "task": recipe.task,
            "sequence_length": settings.sequence_length,
            "vocab_size": vocabulary.size,
            "end_of_text": vocabulary.end,
            "separator": vocabulary.separator,
            "splits": counts,
        },
    )
    tokens = sum(c["tokens"] for c in counts.values())
    documents = sum(c["documents"] for c in counts.values())
    return Made(
        outputs={"corpus": corpus},
        headline=f"{tokens:,} tokens in {documents:,} documents",
        metrics={f"{split}_{name}": n for split, c in counts.items() for name, n in c.items()} | {"new_shards": new},
        settled=settled,
    )


def _tokenizer(
    step: Step, found: list[tuple[Shard, str]], settings: LanguagePreprocessing
) -> tuple[Path, dict[str, str]]:
    """The folder with the tokenizer: from elsewhere, fitted before, or fitted now; and what that settles."""
    folder = step.scratch / "tokenizer"
    if settings.tokenizer.source:
        source = weights.locate("preprocessing.tokenizer.from", settings.tokenizer.source, step.store)
        tokenizer.copy(source, folder)
        return folder, {}
    if (kept := step.digests[fitted.INPUT]) != sources.NOTHING:
        return fitted.fetch(step.store, kept, folder), {}
    tokenizer.train(_training_texts(found, settings), settings.tokenizer.vocab_size, folder)
    if settings.fit == "always":
        return folder, {}
    # Another run may have been first; then its tokenizer is the one.
    kept = fitted.keep(step.store, step.recipe, [folder / name for name in weights.TOKENIZER])
    return fitted.fetch(step.store, kept, folder), {fitted.INPUT: kept}


def _encode_all(
    step: Step, found: list[tuple[Shard, str]], settings: LanguagePreprocessing, folder: Path
) -> tuple[list[Encoded], int]:
    """Every shard encoded, in order, and how many of them were not before; in as many processes as there are cores."""
    cache = ShardCache(step, digest.of_json([digest.of_file(folder / name) for name in weights.TOKENIZER]))
    known = {sha256: cache.find(sha256) for _, sha256 in found}
    new = [(shard, sha256) for shard, sha256 in found if known[sha256] is None]
    jobs = [(shard, sha256, settings, folder, step.scratch / sha256) for shard, sha256 in new]
    if jobs:
        # Spawned, not forked: the tokenizer's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        workers = min(len(jobs), os.cpu_count() or 1)
        with ProcessPoolExecutor(workers, context, initializer=lifetime.exit_with_parent) as pool:
            for done, (job, made) in enumerate(zip(new, pool.map(_encode, *zip(*jobs, strict=True)), strict=True)):
                known[job[1]] = cache.keep(job[1], *made)
                step.progress(2 + done, 1 + len(jobs), "encoding")
    return [encoded for _, sha256 in found if (encoded := known[sha256])], len(new)


def _encode(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, folder: Path, target: Path
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Read, split, tokenise and pack one shard into .npy files below `target`; the files and what they hold."""
    trained = tokenizer.load(folder)
    vocabulary = tokenizer.vocabulary(folder)
    dtype = packing.token_type(vocabulary.size)

    def ids(texts: list[str]) -> list[list[int]]:
        return [e.ids for e in trained.encode_batch_fast(texts, add_special_tokens=False)]

    documents = list(_documents(shard, sha256, settings))
    files: dict[str, Path] = {}
    counts = {}
    for split in SPLITS:
        texts = [d.text for d in documents if d.split == split]
        pairs = [p for d in documents if d.split == split for p in d.pairs]
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


def _documents(shard: Shard, sha256: str, settings: LanguagePreprocessing) -> Iterator[Document]:
    """
    Raises:
        UserError: a column that the recipe names is missing, null or not text.
    """
    table, _ = shards.read(shard, sha256)
    pairs = settings.pairs
    from_columns = pairs is not None and pairs.source == "columns"
    columns = {"preprocessing.text": settings.text}
    if settings.split_by:
        columns["preprocessing.split_by"] = settings.split_by
    if pairs is not None and from_columns:
        columns |= {"preprocessing.pairs.prompt": pairs.prompt, "preprocessing.pairs.response": pairs.response}
    values = {key: _column(table, shard, key, name) for key, name in columns.items()}
    identities = values.get("preprocessing.split_by", values["preprocessing.text"])
    for row, (text, identity) in enumerate(zip(values["preprocessing.text"], identities, strict=True)):
        made: list[Pair] = []
        if from_columns:
            prompt, response = values["preprocessing.pairs.prompt"], values["preprocessing.pairs.response"]
            made = [Pair(prompt[row], response[row])]
        elif pairs is not None:
            made = python_docstrings(text)
        yield Document(split_of(identity, settings), text, made)


def _column(table: Any, shard: Shard, key: str, name: str) -> list[str]:
    if name not in table.column_names:
        raise UserError(f"{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}")
    values = table.column(name).to_pylist()
    for row, value in enumerate(values):
        if value is None:
            raise UserError(f"{key}: {shard.path} row {row + 1}: column {name!r} is null")
    if key == "preprocessing.split_by":
        return [str(value) for value in values]
    if values and not isinstance(values[0], str):
        raise UserError(f"{key}: {shard.path}: column {name!r} is not text but {table.schema.field(name).type}")
    return values


def _training_texts(found: list[tuple[Shard, str]], settings: LanguagePreprocessing) -> Iterator[str]:
    for shard, sha256 in found:
        for document in _documents(shard, sha256, settings.model_copy(update={"pairs": None})):
            if document.split == "train":
                yield document.text


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


def _add_up(counts: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(c[name] for c in counts) for name in counts[0]}


def _require_examples(counts: dict[str, dict[str, int]], settings: LanguagePreprocessing) -> None:
    total = sum(c["documents"] for c in counts.values())
    for split in SPLITS:
        if not counts[split]["documents"]:
            raise UserError(
                f"preprocessing.validation and .test: the {split} split is empty: {total} documents are too few for "
                f"fractions of {settings.validation} and {settings.test}; raise them or add data"
            )
        if settings.pairs is not None and not counts[split]["pairs"]:
            raise UserError(
                f"preprocessing.pairs: the {split} split has no pairs in its {counts[split]['documents']} documents; "
                f"add data, or set preprocessing.pairs and fine_tuning to none"
            )
