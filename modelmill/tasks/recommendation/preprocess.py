"""Preprocessing of interactions into sequences: a catalogue, training windows, and the held-out items."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import in_memory
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.recommendation.histories import LEAST, Histories, gather, padded, training, windows
from modelmill.tasks.recommendation.recipe import InteractionPreprocessing, Recipe

CATALOGUE = "catalogue.json"


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing, null or unusable, a shard has changed, no user has enough interactions, or one
            has too few and the recipe refuses that.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    histories = read(step, shards, settings)
    _judge_cold(histories, settings)
    counts = np.bincount(training(histories.items, histories.offsets)[1], minlength=len(histories.catalogue) + 1)[1:]
    catalogue = {
        "items": histories.catalogue,
        "interactions": counts.tolist(),
        "unknown_items": settings.unknown_items,
    }
    catalogue_file = json.dumps(catalogue, ensure_ascii=False).encode()
    files = {
        CATALOGUE: catalogue_file,
        "histories.items.npy": _npy(histories.items),
        "histories.offsets.npy": _npy(histories.offsets),
    }
    info = {
        "users": len(histories.users),
        "items": len(histories.catalogue),
        "interactions": len(histories.items),
        "cold_users": len(histories.cold),
        "sequence_length": settings.sequence_length,
        "catalogue": digest.of_bytes(catalogue_file)[:12],
    }
    arrays = {
        "train": _windows(histories, settings),
        "validation": _held_out(histories, settings.sequence_length, 1),
        "test": _held_out(histories, settings.sequence_length, 0),
    }
    made = in_memory.corpus(step, arrays, info, files)
    said = f"{info['users']:,} users, {info['items']:,} items, {info['interactions']:,} interactions"
    left_out = f"; {info['cold_users']:,} users with fewer than {LEAST} left out" if histories.cold else ""
    numbers = {key: info[key] for key in ("users", "items", "interactions", "cold_users")}
    return replace(made, headline=said + left_out, metrics=made.metrics | numbers)


def read(step: Step, shards: list[tuple[Shard, str]], settings: InteractionPreprocessing) -> Histories:
    """Return the histories of the dataset.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        settings: The recipe's section.

    Raises:
        UserError: A column is missing, null or unusable, or a shard has changed.
    """
    wanted = {"user": settings.user, "item": settings.item, "timestamp": settings.timestamp}
    if settings.rating is not None:
        wanted["rating"] = settings.rating
    columns = in_memory.read_columns(step, shards, {f"preprocessing.{key}": name for key, name in wanted.items()})
    users, items = ([str(value) for value in columns[name]] for name in (settings.user, settings.item))
    times = _sortable(columns[settings.timestamp], settings)
    if settings.rating is not None:
        liked = _liked(columns[settings.rating], settings)
        users, items, times = [users[n] for n in liked], [items[n] for n in liked], times[liked]
    return gather(users, items, times, settings.item_minimum)


def _sortable(values: list[Any], settings: InteractionPreprocessing) -> np.ndarray:
    if values and isinstance(values[0], str | bool):
        raise UserError(
            f"preprocessing.timestamp: column {settings.timestamp!r} is not a number, a date or a time but "
            f"{values[0]!r}; text has another order than time"
        )
    return np.unique(np.array(values), return_inverse=True)[1]


def _liked(ratings: list[Any], settings: InteractionPreprocessing) -> np.ndarray:
    assert settings.least_rating is not None
    if ratings and not isinstance(ratings[0], int | float):
        raise UserError(f"preprocessing.rating: column {settings.rating!r} is not a number but {ratings[0]!r}")
    return np.flatnonzero(np.array(ratings, np.float64) >= settings.least_rating)


def _judge_cold(histories: Histories, settings: InteractionPreprocessing) -> None:
    needed = f"{LEAST} interactions with different items of the catalogue"
    if histories.cold and settings.cold_users == "refuse":
        user, left = next(iter(histories.cold.items()))
        raise UserError(
            f"preprocessing.cold_users: {len(histories.cold):,} users have fewer than {needed}, such as {user!r} with "
            f"{left}; set it to leave_out, or add data"
        )
    if not histories.users:
        raise UserError(f"preprocessing.user: no user has {needed}; lower item_minimum or least_rating, or add data")
    if not (np.diff(histories.offsets) > LEAST).any():
        raise UserError(
            f"preprocessing.user: no user has {LEAST + 1} interactions: two are held out of each, and to learn there "
            "must be two more; add data"
        )


def _windows(histories: Histories, settings: InteractionPreprocessing) -> dict[str, np.ndarray]:
    """Return the training split.

    It has `items` and the `labels` that follow each, (windows, sequence_length), 0 where there is none, and which
    labels are `recent`.
    """
    length = settings.sequence_length
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    ids = []
    for number, user in enumerate(histories.users):
        history = histories.of(number)[:-2]
        newest = np.arange(len(history)) >= round(len(history) * (1 - settings.recent))
        pieces = zip(windows(history, length), windows(newest, length), strict=True)
        for place, (items, is_recent) in enumerate(pieces):
            rows.append((padded(items[:-1], length), padded(items[1:], length), padded(is_recent[1:], length)))
            ids.append(_id(user, "train", str(place)))
    items, labels, recent = (np.stack(column) for column in zip(*rows, strict=True))
    return {"items": items, "labels": labels, "recent": recent.astype(bool), "ids": np.array(ids, np.uint64)}


def _held_out(histories: Histories, length: int, before_last: int) -> dict[str, np.ndarray]:
    """Return a row a user: the items before the held-out one, and that one as the label of the last place."""
    rows, labels, ids = [], np.zeros((len(histories.users), length), np.int64), []
    for number, user in enumerate(histories.users):
        history = histories.of(number)
        end = len(history) - 1 - before_last
        rows.append(padded(history[:end], length))
        labels[number, -1] = history[end]
        ids.append(_id(user, histories.catalogue[history[end] - 1]))
    return {"items": np.stack(rows), "labels": labels, "ids": np.array(ids, np.uint64)}


def _id(*texts: str) -> int:
    return int(digest.of_json(texts)[:16], 16)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
