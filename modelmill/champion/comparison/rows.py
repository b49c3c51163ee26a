"""One row for each held-out example and model: what every later question is answered from."""

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
    """A metric's examples, in the order of their ids: ids, values and weights, and the slices each is in."""

    examples: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    slices: list[list[str]]

    def chosen(self, places: np.ndarray) -> "ExampleValues":
        slices = [self.slices[place] for place in places]
        return ExampleValues(self.examples[places], self.values[places], self.weights[places], slices)


def write(rows: Iterable[dict[str, Any]]) -> bytes:
    """A Parquet file; what a row does not say is null. Equal rows give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def read(store: Store, evaluation: Manifest, measure: Measure) -> ExampleValues:
    """What an evaluation has measured of a metric, without the examples that the model has seen in training.

    Raises:
        CorruptError: the file is not in the store.
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
    """Ids of which later ones that are equal to earlier ones have a number added."""
    met: dict[str, int] = {}
    unique = []
    for one in ids:
        met[one] = met.get(one, 0) + 1
        unique.append(one if met[one] == 1 else f"{one}#{met[one]}")
    return unique


def id_of(*texts: str) -> str:
    """The id of an example that consists of these texts."""
    return digest.of_json(texts)[:24]
