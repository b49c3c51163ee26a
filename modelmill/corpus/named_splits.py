"""Which splits data names in the column that a recipe gives: all of it is looked at before any of it is prepared."""

from modelmill.core.errors import UserError
from modelmill.corpus.required import require_column
from modelmill.corpus.shard_cache import ShardCache
from modelmill.corpus.split import SPLITS, named_split
from modelmill.data import shards
from modelmill.data.shard import Shard, TableStream
from modelmill.recipe.sections import SPLIT_FROM, Preparation
from modelmill.runtime.step_runtime import Step


def settled(step: Step, validated: list[tuple[Shard, str]]) -> Preparation:
    """Return the settings of preprocessing, which know the splits that no row names.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A row names no split, or none names `train`.
    """
    settings = step.recipe.preprocessing
    if settings.split_from is None:
        return settings
    cache = ShardCache(step, "named splits", frozenset(type(settings).model_fields) - {"split_from"})
    found: set[str] = set()
    for number, (shard, sha256) in enumerate(validated):
        step.progress(number, len(validated), "names of splits")
        # The rows of a manifest alone have another digest than with their files, and are read soon.
        known = None if shard.media else cache.find(sha256)
        counts = _count(shard, sha256, settings.split_from) if known is None else known.counts
        if known is None and not shard.media:
            cache.keep(sha256, {}, counts)
        found.update(counts)
    if "train" not in found:
        raise UserError(f"{SPLIT_FROM}: no row's {settings.split_from!r} is train; correct the column, or add data")
    return settings.with_drawn(frozenset(SPLITS) - found)


def _count(shard: Shard, sha256: str, column: str) -> dict[str, dict[str, int]]:
    """Return how many rows of a shard are in each split that it names."""
    counts: dict[str, dict[str, int]] = {}
    start = 0
    for piece in TableStream(shards.alone(shard), None if shard.media else sha256):
        require_column(piece, shard, SPLIT_FROM, column, start)
        for row, value in enumerate(piece.column(column).to_pylist(), start=start + 1):
            split = counts.setdefault(named_split(value, column, shard.path, row), {"rows": 0})
            split["rows"] += 1
        start += piece.num_rows
    return counts
