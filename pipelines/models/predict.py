"""`modelmill predict`: a registered version answers, a batch of rows at a time."""

import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from modelmill.core.errors import UserError
from modelmill.pipelines.models import package_check
from modelmill.pipelines.models.package_check import Column
from modelmill.pipelines.models.rows import Row
from modelmill.pipelines.writing import writing
from modelmill.runtime import tracking
from modelmill.runtime.tracking import Version
from modelmill.store import Store

ROWS = 256


@contextlib.contextmanager
def opened(store: Store, version: Version) -> Iterator[tuple[list[Column], Callable[[], Any]]]:
    """Yield the columns that a verified version reads, and a function that loads it with MLflow.

    Raises:
        UserError: It is not safe to load; see `package_check`.
        CorruptError: It is not what was registered.
    """
    package_check.require_verified(version)
    with tempfile.TemporaryDirectory(prefix="modelmill-predict-") as scratch:
        folder = tracking.download_version(store, f"models:/{version.name}/{version.version}", Path(scratch))
        package_check.check(store, version, folder)

        def load() -> Any:
            # Read when transformers is imported: weights this small need no progress bar beside the answers.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            # An adapter's script fetches its base from the same registry.
            with tracking.client(store):
                import mlflow
                from mlflow.exceptions import MlflowException

                try:
                    return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
                except MlflowException as error:
                    if error.error_code != "INVALID_PARAMETER_VALUE":
                        raise
                    raise UserError(f"{version}: it cannot be loaded: {error.message}") from error

        yield package_check.columns(folder), load


def answers(model: Any, columns: list[Column], rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield the model's answers to the rows in order, a batch at a time.

    Args:
        model: The loaded model.
        columns: The columns that it reads.
        rows: The rows.

    Raises:
        UserError: The model's script refuses a row, by an MlflowException of INVALID_PARAMETER_VALUE.
    """
    import pandas as pd
    from mlflow.exceptions import MlflowException

    kinds = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
    kinds = {column.name: kinds[column.type] for column in columns if column.type in kinds}
    while batch := list(islice(rows, ROWS)):
        frame = pd.DataFrame(batch, columns=[column.name for column in columns]).astype(kinds)
        try:
            answered = model.predict(frame)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UserError(f"the model refuses a row: {error.message}") from error
        yield [_plain(answer) for answer in answered.to_dict("records")]


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
