"""Text into packed token arrays: split, fit the tokenizer on the training split, encode the shards in parallel."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from components.common import digest, fitted, lifetime, manifest, sources, weights
from components.common.errors import UserError
from components.common.manifest import Manifest
from components.common.recipe.language_modeling import LanguageModelingRecipe, LanguagePreprocessing
from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import documents, tokenizer
from components.preprocessing.encoding import encode
from components.preprocessing.shard_cache import Encoded, ShardCache
from components.preprocessing.split import SPLITS


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
    count = sum(c["documents"] for c in counts.values())
    return Made(
        outputs={"corpus": corpus},
        headline=f"{tokens:,} tokens in {count:,} documents",
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
    tokenizer.train(documents.training_texts(found, settings), settings.tokenizer.vocab_size, folder)
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
            for done, (job, made) in enumerate(zip(new, pool.map(encode, *zip(*jobs, strict=True)), strict=True)):
                known[job[1]] = cache.keep(job[1], *made)
                step.progress(2 + done, 1 + len(jobs), "encoding")
    return [encoded for _, sha256 in found if (encoded := known[sha256])], len(new)


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
