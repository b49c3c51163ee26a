"""`modelmill predict`: a registered version answers, a batch of rows at a time."""

import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.pipelines.models import base_model, package_check
from modelmill.pipelines.models.package_check import Column
from modelmill.pipelines.models.refusals import refusing
from modelmill.pipelines.models.rows import Row
from modelmill.pipelines.writing import writing
from modelmill.runtime import tracking
from modelmill.runtime.tracking import Version
from modelmill.runtime.tracking.versions import IMPORTED
from modelmill.store import Store

ROWS = 256


class Opened(NamedTuple):
    """A version that was checked, not yet loaded.

    Attributes:
        columns: The columns that it reads.
        parameters: Names of the parameters that it takes.
        load: Loads it; returns an object with `predict` and `predict_stream`, as MLflow's models have them.
    """

    columns: list[Column]
    parameters: list[str]
    load: Callable[[], Any]


@contextlib.contextmanager
def opened(store: Store, version: Version) -> Iterator[Opened]:
    """Yield a verified version, or a base model that was imported.

    Raises:
        UserError: It is not safe to load; see `package_check` and `base_model`.
        CorruptError: It is not what was registered.
    """
    package_check.require_verified(version)
    # Read when transformers is imported: weights this small need no progress bar beside the answers.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with tempfile.TemporaryDirectory(prefix="modelmill-predict-") as scratch:
        if IMPORTED in version.tags:
            yield Opened(*base_model.prepare(store, version, Path(scratch)))
            return
        folder = tracking.download_version(store, f"models:/{version.name}/{version.version}", Path(scratch))
        package_check.remove_bytecode(folder)
        package_check.check(store, version, folder)
        columns, parameters = package_check.columns(folder), package_check.parameters(folder)
        yield Opened(columns, parameters, partial(_load, store, version, folder))


def _load(store: Store, version: Version, folder: Path) -> Any:
    # An adapter's script fetches its base from the same registry.
    with tracking.client(store):
        import mlflow

        with refusing(f"{version}: it cannot be loaded"):
            return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)


def parameters(version: Version, known: list[str], asked: Row) -> Row:
    """Return the parameters of answers by the names that the model has for them.

    Args:
        version: The version.
        known: Names of the parameters that it takes.
        asked: What the command was given, by OpenAI's names.

    Raises:
        UserError: The model does not take one.
    """
    names = {name: name for name in known} | ({} if "max_tokens" in known else {"max_tokens": "max_new_tokens"})
    for name in asked:
        if names.get(name) not in known:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: {version} takes no {name}; it takes {', '.join(known) or 'rows alone'}")
    return {names[name]: value for name, value in asked.items()}


def answers(model: Any, columns: list[Column], rows: Iterator[Row], params: Row | None = None) -> Iterator[list[Row]]:
    """Yield the model's answers to the rows in order, a batch at a time.

    Args:
        model: The loaded model.
        columns: The columns that it reads.
        rows: The rows.
        params: Parameters of the answers.

    Raises:
        UserError: The model's script refuses a row.
    """
    import pandas as pd

    kinds = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
    kinds = {column.name: kinds[column.type] for column in columns if column.type in kinds}
    while batch := list(islice(rows, ROWS)):
        answered: list[Row] = []
        # Rows that have the same of the columns that may be missing go together.
        for names, alike in groupby(batch, key=list):
            some = list(alike)
            frame = pd.DataFrame(some, columns=names).astype({k: v for k, v in kinds.items() if k in names})
            with refusing("the model refuses a row"):
                answered += _as_rows(model.predict(frame, params=params), some)
        yield [_plain(answer) for answer in answered]


def _as_rows(answered: Any, asked: list[Row]) -> list[Row]:
    """Return a row for each answer: of a conversation, the conversation with its answer."""
    if hasattr(answered, "to_dict"):
        rows: list[Row] = answered.to_dict("records")
        return rows
    completions = [answered] if isinstance(answered, dict) else answered
    choices = [one["choices"][0] for one in completions]
    return [
        {**row, "messages": [*row["messages"], choice["message"]], "finish_reason": choice["finish_reason"]}
        for row, choice in zip(asked, choices, strict=True)
    ]


@contextlib.contextmanager
def writable(output: Path | None) -> Iterator[IO[str]]:
    """Yield the file for answers: standard output, or a file that appears whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with writing(f"--output {output}"):
            with open(temporary, "w", encoding="utf-8") as file:
                yield file
            temporary.replace(output)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _plain(answer: Row) -> Row:
    """Return an answer without NaN, which JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in answer.items()}
