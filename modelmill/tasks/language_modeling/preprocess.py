"""Preprocessing of text into packed token arrays: split, fit the tokenizer on the training split, encode shards."""

from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import processes
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import documents, encoding, tokenizer
from modelmill.corpus.text.framing import framing_of
from modelmill.corpus.text.hygiene.examining import Examined, but_for, examine, why
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data.shard import Shard
from modelmill.recipe.sections import SPLIT_FROM
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import Recipe

# What the headline says of counts of pairs.
SAID = {
    "cut_prompts": "prompts cut",
    "cut_responses": "responses cut",
    "dropped_pairs": "pairs dropped",
    "split_conversations": "conversations split",
    "left_out_turns": "turns left out",
    "unlearned_conversations": "conversations with nothing to learn",
    "examples_for_past_turns": "examples for turns that the template shows in other words later",
}


class Fitted(NamedTuple):
    """The tokenizer and the examined documents, which every shard is encoded with.

    Attributes:
        folder: Folder of the tokenizer.
        settled: `same_for` of `Made`.
        frame: What users need to know to frame a prompt; None without pairs.
        examined: The documents that hygiene leaves out.
    """

    folder: Path
    settled: dict[str, str]
    frame: dict[str, object] | None
    examined: Examined


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, a shard has changed, or a split would be empty.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    fitted_now = fit(step, shards)
    folder, examined, frame = fitted_now.folder, fitted_now.examined, fitted_now.frame
    encoded, new = encode(step, shards, fitted_now, range(len(shards)))
    counts = {split: _add_up([e.counts[split] for e in encoded]) for split in SPLITS}
    _require_examples(counts, settings, why(examined.info))
    vocabulary = tokenizer.vocabulary(folder)
    entries = [manifest.add_file(step.store, f, f"tokenizer/{f.name}") for f in weights.tokenizer_files(folder)]
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
            **({"opening": vocabulary.opening} if vocabulary.opening else {}),
            "splits": counts,
            "held_out": settings.held_out,
            **({"frame": frame} if frame else {}),
            **({"hygiene": examined.info} if examined.info else {}),
        },
    )
    tokens = sum(c["tokens"] for c in counts.values())
    count = sum(c["documents"] for c in counts.values())
    return Made(
        outputs={"corpus": corpus},
        headline=f"{tokens:,} tokens in {count:,} documents" + _left_out(examined.info) + _too_long(counts),
        metrics={f"{split}_{name}": n for split, c in counts.items() for name, n in c.items()}
        | {f"left_out_{reason}": n for reason, n in examined.info.get("left_out", {}).items()}
        | {"new_shards": new},
        same_for=fitted_now.settled,
    )


def fit(step: Step, shards: list[tuple[Shard, str]]) -> Fitted:
    """Return the tokenizer and the examined documents of all shards.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: See `preprocess`.
    """
    assert isinstance(step.recipe, Recipe)
    settings = step.recipe.preprocessing
    examined = examine(step, shards, settings)
    step.progress(0, len(shards) + 1, "tokenizer")
    folder, settled = _tokenizer(step, shards, settings, examined)
    return Fitted(folder, settled, _frame(settings, folder), examined)


def _frame(settings: LanguagePreprocessing, folder: Path) -> dict[str, object] | None:
    """Return how pairs are framed, before any shard is encoded."""
    if settings.pairs is None:
        return None
    return framing_of(settings.pairs, tokenizer.Encoder(folder), folder, settings.sequence_length).describe()


def _tokenizer(
    step: Step, shards: list[tuple[Shard, str]], settings: LanguagePreprocessing, examined: Examined
) -> tuple[Path, dict[str, str]]:
    """Return the folder with the tokenizer, from elsewhere, fitted before or fitted now, and what that settles."""
    return the_tokenizer(
        step, settings.tokenizer.source, lambda folder: _train(step, shards, settings, examined, folder)
    )


def _train(
    step: Step, shards: list[tuple[Shard, str]], settings: LanguagePreprocessing, examined: Examined, folder: Path
) -> None:
    """Fit a tokenizer to the training documents, unless one was fitted to the same documents with the same settings."""
    cache = ShardCache(step, f"tokenizer of {settings.tokenizer.vocab_size}", settings.beside_documents)
    keys = [but_for(sha256, rows) for (_, sha256), rows in zip(shards, examined.left_out, strict=True)]
    key = digest.of_json(keys)
    if (known := cache.find(key)) is not None:
        folder.mkdir(parents=True)
        for entry in known.entries:
            (folder / entry.path).write_bytes(manifest.read_entry(step.store, entry))
        return
    texts = documents.training_texts(shards, settings, examined.left_out)
    tokenizer.train(texts, settings.tokenizer.vocab_size, folder)
    cache.keep(key, {name: folder / name for name in weights.TOKENIZER}, {})


def encode(step: Step, shards: list[tuple[Shard, str]], fitted_now: Fitted, which: range) -> tuple[list[Encoded], int]:
    """Return some shards encoded, in order, and how many of them were not encoded before.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        fitted_now: The tokenizer and the examined documents.
        which: Numbers of the shards to encode.
    """
    assert isinstance(step.recipe, Recipe)
    settings, folder, left_out = step.recipe.preprocessing, fitted_now.folder, fitted_now.examined.left_out
    cache = ShardCache(step, weights.tokenizer_digest(folder))
    keys = {number: but_for(shards[number][1], left_out[number]) for number in which}
    known = {key: cache.find(key) for key in keys.values()}
    new = {key: number for number, key in keys.items() if known[key] is None}
    jobs = [
        (*shards[number], settings, folder, step.scratch / "encoded" / key, left_out[number])
        for key, number in new.items()
    ]
    for done, (key, made) in enumerate(zip(new, processes.each(encoding.encode, jobs), strict=True)):
        known[key] = cache.keep(key, *made)
        step.progress(2 + done, 1 + len(jobs), "encoding")
    return [encoded for key in keys.values() if (encoded := known[key])], len(new)


def _left_out(info: dict[str, Any]) -> str:
    count = sum(info.get("left_out", {}).values())
    return f", {count:,} left out" if count else ""


def _too_long(counts: dict[str, dict[str, int]]) -> str:
    """Return how many pairs were too long, in all splits, for a person; an empty text for none."""
    totals = {name: sum(c.get(name, 0) for c in counts.values()) for name in SAID}
    return "".join(f", {count:,} {SAID[name]}" for name, count in totals.items() if count)


def _add_up(counts: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(c[name] for c in counts) for name in counts[0]}


def _require_examples(counts: dict[str, dict[str, int]], settings: LanguagePreprocessing, left_out: str) -> None:
    """Check that every split has documents and, where the recipe has pairs, pairs.

    Args:
        counts: Documents and pairs of each split.
        settings: The recipe's section.
        left_out: How many documents were left out, and why; empty if none.
    """
    total = sum(c["documents"] for c in counts.values())
    # Malformed rows and equal answers are left out whatever hygiene asks for.
    who = "preprocessing" if settings.conversations else "preprocessing.hygiene"
    also = f" ({who} left out {left_out})" if left_out else ""
    for split in SPLITS:
        if not counts[split]["documents"]:
            if settings.split_from is not None and split not in settings.drawn:
                raise UserError(f"{SPLIT_FROM}: the {split} split is empty{also}; correct the column, or add data")
            raise UserError(
                f"preprocessing.validation and .test: the {split} split is empty: {total} documents are too few for "
                f"fractions of {settings.validation} and {settings.test}{also}; raise them or add data"
            )
        dropped = counts[split].get("dropped_pairs", 0)
        if dropped and not counts[split]["pairs"]:
            raise UserError(_all_too_long(settings, split, dropped))
        if settings.pairs is not None and not counts[split]["pairs"]:
            raise UserError(
                f"preprocessing.pairs: the {split} split has no pairs in its {counts[split]['documents']} documents"
                f"{also}; add data, or set preprocessing.pairs and fine_tuning to none"
            )


def _all_too_long(settings: LanguagePreprocessing, split: str, dropped: int) -> str:
    """Return what to say of a split whose pairs were all dropped; answers are never cut, so they may be too long."""
    assert settings.pairs is not None
    policy, length = settings.pairs.too_long, settings.sequence_length
    what = (
        f"all {dropped} pairs" if policy == "drop" else f"the answers of all {dropped} preferences or labelled answers"
    )
    advice = ", or set truncate_prompt" if policy == "drop" else ""
    return (
        f"preprocessing.pairs.too_long: {policy}: {what} of the {split} split are longer than {length} tokens; raise "
        f"preprocessing.sequence_length{advice}"
    )
