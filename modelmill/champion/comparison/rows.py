"""The table of an evaluation: a row for each held-out example and model, from which comparisons are made."""

import io
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelmill.core import digest
from modelmill.recipe.measure import Measure
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

FILE = "examples.parquet"
# example: an id that is the same for every model. set: which examples. model: before or after fine-tuning. loss: in
# nats, summed over the example. weight: what a mean loss is per (tokens, or 1). bytes: of the text that was predicted.
# score: what else a task measures of an example.
SCHEMA = pa.schema(
    {
        "example": pa.string(),
        "set": pa.string(),
        "model": pa.string(),
        "slices": pa.list_(pa.string()),
        "loss": pa.float64(),
        "weight": pa.float64(),
        "bytes": pa.float64(),
        "score": pa.float64(),
        "label": pa.string(),
        "prediction": pa.string(),
        "confidence": pa.float64(),
        "correct": pa.bool_(),
        "contaminated": pa.bool_(),
    }
)


class ExampleValues(NamedTuple):
    """Values of a metric on examples, in the order of their ids.

    Attributes:
        examples: Ids, (examples,).
        values: Value of each example, summed over it: float64, (examples,).
        weights: Weight of each example: float64, (examples,).
        slices: Names of the slices that each example is in.
    """

    examples: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    slices: list[list[str]]

    def chosen(self, places: np.ndarray) -> "ExampleValues":
        """Return the examples at these places."""
        slices = [self.slices[place] for place in places]
        return ExampleValues(self.examples[places], self.values[places], self.weights[places], slices)


def write(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as a Parquet file with null for what a row lacks; equal rows give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def read(store: Store, evaluation: Manifest, measure: Measure) -> ExampleValues:
    """Return an evaluation's values of a metric, without the examples that the model has seen in training.

    Args:
        store: Store with the evaluation's rows.
        evaluation: The evaluation.
        measure: Which rows and columns the metric is made from.

    Raises:
        CorruptError: The rows are not in the store.
    """
    table = pq.read_table(io.BytesIO(manifest.read_entry(store, evaluation.entry(FILE))))
    wanted = (
        (pc.field("set") == measure.set)
        & (pc.field("model") == measure.model)
        & ~pc.coalesce(pc.field("contaminated"), False)
    )
    table = table.filter(wanted).sort_by("example")
    values = table.column(measure.value).cast(pa.float64()).to_numpy() * measure.scale
    return ExampleValues(
        np.asarray(table.column("example").to_pylist(), dtype=object),
        values,
        table.column(measure.per).to_numpy(),
        table.column("slices").to_pylist(),
    )


def unique_ids(ids: Iterable[str]) -> list[str]:
    """Return the ids with a number added to each that is equal to an earlier one."""
    met: dict[str, int] = {}
    unique = []
    for one in ids:
        met[one] = met.get(one, 0) + 1
        unique.append(one if met[one] == 1 else f"{one}#{met[one]}")
    return unique


def id_of(*texts: str) -> str:
    """Return the id of an example that consists of these texts."""
    return digest.of_json(texts)[:24]
