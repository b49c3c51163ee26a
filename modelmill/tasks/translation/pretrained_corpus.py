"""Preprocessing of pairs for a checkpoint: its own tokenizer encodes them, and its description goes with them."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, processes
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS, key_of
from modelmill.data.shard import Shard
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.translation import encoding, sides
from modelmill.tasks.translation.framing import CHECKED, Framing, described
from modelmill.tasks.translation.recipe import Recipe, TranslationPreprocessing
from modelmill.tasks.translation.sides import Encoder, Sides

# What the headline says of rows that are left out.
_SAID = {"empty": "with an empty text", "too_long": "too long", "unpaired": "beyond preprocessing.paired"}


class Fitted(NamedTuple):
    """What every shard is encoded with.

    Attributes:
        folder: The checkpoint's configuration and tokenizer.
        sides: Both sides of a translation.
    """

    folder: Path
    sides: Sides


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `encoding.encode`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: The checkpoint does not fit the recipe, or the data; or a split would be empty.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    fitted = fit(step)
    encoded, new = encode(step, shards, fitted, range(len(shards)))
    counts = {split: _added(encoded, split) for split in SPLITS}
    for split in SPLITS:
        _require_examples(recipe.preprocessing, split, counts[split])
    files = checkpoint.files(fitted.folder) | {f"{checkpoint.FOLDER}/{sides.FILE}": fitted.sides.to_json()}
    entries = [manifest.add_bytes(step.store, data, name) for name, data in files.items()]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    info = described(fitted.folder, fitted.sides) | {
        "task": recipe.task,
        "model": recipe.model.type,
        "splits": counts,
        "held_out": recipe.preprocessing.held_out,
    }
    left_out = {why: sum(count[why] for count in counts.values()) for why in encoding.LEFT_OUT}
    said = "".join(f", {number:,} {_SAID[why]}" for why, number in left_out.items() if number)
    return Made(
        outputs={"corpus": Manifest(kind="corpus", entries=entries, made_from=step.digests, info=info)},
        headline=", ".join(f"{counts[split]['examples']:,} {split}" for split in SPLITS) + said,
        metrics={f"{split}_examples": counts[split]["examples"] for split in SPLITS}
        | {f"left_out_{why}": number for why, number in left_out.items()}
        | {"new_shards": new},
    )


def fit(step: Step) -> Fitted:
    """Return the checkpoint's description, and how its tokenizer frames texts.

    Args:
        step: The running step.

    Raises:
        UserError: There is no tokenizer that transformers loads, or it has no token for a language.
    """
    settings = step.recipe.preprocessing
    assert settings.given_checkpoint is not None
    folder = checkpoint.the_checkpoint(step, TOKENIZER, settings.given_checkpoint)
    return Fitted(folder, Framing(folder, settings).sides())  # type: ignore[arg-type]


def encode(step: Step, shards: list[tuple[Shard, str]], fitted: Fitted, which: range) -> tuple[list[Encoded], int]:
    """Return some shards encoded, in order, and how many of them were not encoded before.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        fitted: What shards are encoded with.
        which: Numbers of the shards to encode.
    """
    settings = step.recipe.preprocessing
    cache = ShardCache(step, digest.of_json([weights.tokenizer_digest(fitted.folder), fitted.sides]))
    keys = {number: shards[number][1] for number in which}
    known = {key: cache.find(key) for key in keys.values()}
    new = {key: number for number, key in keys.items() if known[key] is None}
    jobs = [
        (*shards[number], settings, fitted.folder, fitted.sides, step.scratch / "encoded" / key)
        for key, number in new.items()
    ]
    for done, (key, made) in enumerate(zip(new, processes.each(encoding.encode, jobs), strict=True)):
        if not done:
            _require_alike(fitted, settings, made[0])
        known[key] = cache.keep(key, *made)
        step.progress(1 + done, len(jobs), "encoding")
    return [encoded for key in keys.values() if (encoded := known[key])], len(new)


def _require_alike(fitted: Fitted, settings: Any, files: dict[str, Path]) -> None:
    """Check some texts of a shard against the checkpoint's own tokenizer."""
    from modelmill.corpus.example_shards import ShardedExamples

    examples = ShardedExamples(files, "train")
    framing = Framing(fitted.folder, settings)
    for side, of_side in (("source", fitted.sides.source), ("target", fitted.sides.target)):
        some = [examples.text(f"{side}_text", number) for number in range(min(CHECKED, len(examples)))]
        framing.require_alike(Encoder(fitted.folder, of_side), some)


def _added(encoded: list[Encoded], split: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in encoded:
        total.update(one.counts[split])
    return dict(total)


def _require_examples(settings: TranslationPreprocessing, split: str, counts: dict[str, int]) -> None:
    if counts["examples"]:
        return
    left_out = ", ".join(f"{counts[why]:,} are {_SAID[why]}" for why in encoding.LEFT_OUT if counts[why])
    extra = f" ({left_out})" if left_out else ""
    raise UserError(f"{key_of(split, settings)}: no pair is in the {split} split{extra}; change it, or add data")
