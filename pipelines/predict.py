"""`modelmill predict`: a registered version answers JSON Lines, a batch of rows at a time."""

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from components.common import tracking
from components.common.errors import UserError
from components.common.store import Store
from components.common.tracking import Version
from pipelines import package_check
from pipelines.package_check import Column

ROWS = 256
STDIN = "-"
Row = dict[str, Any]


@contextlib.contextmanager
def opened(store: Store, version: Version) -> Iterator[tuple[list[Column], Callable[[], Any]]]:
    """The columns that a verified version reads, and what loads it with MLflow.

    Raises:
        UserError, Corrupt: it is not what was registered, or not safe to load; see `package_check`.
    """
    package_check.require_verified(version)
    with tempfile.TemporaryDirectory(prefix="modelmill-predict-") as scratch:
        folder = tracking.download_version(store, f"models:/{version.name}/{version.version}", Path(scratch))
        package_check.check(store, version, folder)

        def load() -> Any:
            # Read when transformers is imported: weights this small need no progress bar beside the answers.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            import mlflow

            return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)

        yield package_check.columns(folder), load


def answers(model: Any, columns: list[Column], rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The model's answers to the rows in order, a batch at a time.

    Raises:
        UserError: the model's script refuses a row, by an MlflowException of INVALID_PARAMETER_VALUE.
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
def readable(given: str) -> Iterator[IO[bytes]]:
    """The input as a file that can be read twice: standard input is kept in a temporary one.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        if given != STDIN:
            with open(given, "rb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({error.strerror})") from error


def read(file: IO[bytes], name: str, columns: list[Column]) -> Iterator[Row]:
    """The rows of JSON Lines from the beginning, with the model's columns alone; empty lines are none.

    Raises:
        UserError: a line is not a JSON object, or lacks a column, or a value has another type; with its number.
    """
    file.seek(0)
    for number, line in enumerate(file, 1):
        if line.strip():
            where = f"{'standard input' if name == STDIN else name}: line {number}"
            row = _parse(line.removeprefix(b"\xef\xbb\xbf"), where)
            yield {column.name: _value(row, column, where) for column in columns}


def count(rows: Iterator[Row], name: str) -> int:
    """How many rows there are, all of them read and found right.

    Raises:
        UserError: as `read`; or there is none.
    """
    number = sum(1 for _ in rows)
    if not number:
        raise UserError(f"{'standard input' if name == STDIN else name}: no rows in it; write a JSON object a line")
    return number


@contextlib.contextmanager
def writable(output: Path | None) -> Iterator[IO[str]]:
    """Where answers go: standard output, or a file that appears whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            yield file
        temporary.replace(output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _parse(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error.reason})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: not a JSON object; write one a line, such as {{"column": 1.5}}')
    return row


def _value(row: Row, column: Column, where: str) -> Any:
    if column.name not in row:
        raise UserError(f"{where}: no {column.name!r} in it; the model reads that column")
    value = row[column.name]
    if column.type in _KINDS:
        kind, is_one = _KINDS[column.type]
        if not is_one(value):
            raise UserError(f"{where}: {column.name!r} is {_short(value)}, not {kind}")
        if column.type in ("long", "integer"):
            return int(value)
    return value


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _is_whole(bits: int) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and value == int(value) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def _is_text(value: Any) -> bool:
    """Half of a surrogate pair is none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "double": ("a number", _is_number),
    "float": ("a number", _is_number),
    "long": ("a whole number", _is_whole(64)),
    "integer": ("a whole number", _is_whole(32)),
    "string": ("text", _is_text),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _plain(answer: Row) -> Row:
    """JSON has no NaN."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in answer.items()}
