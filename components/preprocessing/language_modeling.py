"""Text into packed token arrays: split, fit the tokenizer on the training split, encode the shards in parallel."""

from pathlib import Path
from typing import Any

from components.common import digest, fitted, manifest, sources, weights
from components.common.errors import UserError
from components.common.manifest import Manifest
from components.common.recipe.language_modeling import LanguageModelingRecipe, LanguagePreprocessing
from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import documents, processes, tokenizer
from components.preprocessing.encoding import encode
from components.preprocessing.hygiene.examining import Examined, but_for, examine
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
    examined = examine(step, found, settings)
    step.progress(0, len(found) + 1, "tokenizer")
    folder, settled = _tokenizer(step, found, settings, examined)
    encoded, new = _encode_all(step, found, settings, folder, examined)
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
            **({"hygiene": examined.info} if examined.info else {}),
        },
    )
    tokens = sum(c["tokens"] for c in counts.values())
    count = sum(c["documents"] for c in counts.values())
    return Made(
        outputs={"corpus": corpus},
        headline=f"{tokens:,} tokens in {count:,} documents" + _left_out(examined.info),
        metrics={f"{split}_{name}": n for split, c in counts.items() for name, n in c.items()}
        | {f"left_out_{reason}": n for reason, n in examined.info.get("left_out", {}).items()}
        | {"new_shards": new},
        settled=settled,
    )


def _tokenizer(
    step: Step, found: list[tuple[Shard, str]], settings: LanguagePreprocessing, examined: Examined
) -> tuple[Path, dict[str, str]]:
    """The folder with the tokenizer: from elsewhere, fitted before, or fitted now; and what that settles."""
    folder = step.scratch / "tokenizer"
    if settings.tokenizer.source:
        source = weights.locate("preprocessing.tokenizer.from", settings.tokenizer.source, step.store)
        tokenizer.copy(source, folder)
        return folder, {}
    if (kept := step.digests[fitted.INPUT]) != sources.NOTHING:
        return fitted.fetch(step.store, kept, folder), {}
    tokenizer.train(documents.training_texts(found, settings, examined.left_out), settings.tokenizer.vocab_size, folder)
    if settings.fit == "always":
        return folder, {}
    # Another run may have been first; then its tokenizer is the one.
    kept = fitted.keep(step.store, step.recipe, [folder / name for name in weights.TOKENIZER])
    return fitted.fetch(step.store, kept, folder), {fitted.INPUT: kept}


def _encode_all(
    step: Step, found: list[tuple[Shard, str]], settings: LanguagePreprocessing, folder: Path, examined: Examined
) -> tuple[list[Encoded], int]:
    """Every shard encoded, in order, and how many of them were not before."""
    cache = ShardCache(step, digest.of_json([digest.of_file(folder / name) for name in weights.TOKENIZER]))
    keys = [but_for(sha256, rows) for (_, sha256), rows in zip(found, examined.left_out, strict=True)]
    known = {key: cache.find(key) for key in keys}
    new = {key: number for number, key in enumerate(keys) if known[key] is None}
    jobs = [
        (*found[number], settings, folder, step.scratch / "encoded" / key, examined.left_out[number])
        for key, number in new.items()
    ]
    for done, (key, made) in enumerate(zip(new, processes.each(encode, jobs), strict=True)):
        known[key] = cache.keep(key, *made)
        step.progress(2 + done, 1 + len(jobs), "encoding")
    return [encoded for key in keys if (encoded := known[key])], len(new)


def _left_out(info: dict[str, Any]) -> str:
    count = sum(info.get("left_out", {}).values())
    return f", {count:,} left out" if count else ""


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
