"""How often each value of a column, or combination of values, occurs: exact, on disk, merged in bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelmill.core import limits

# Rows that a merge holds in memory at a time, when it groups and when it sorts integers.
GROUP_ROWS, SORT_ROWS = 2_000_000, 8_000_000
MEMORY = "160MB"
COUNT, ROW = "__count", "__row"


class ValueCountsWriter:
    """The writer of one shard's value counts: Parquet files with the columns v0, v1 ..., the first row and the count.

    A value may occur in a file more than once, because each piece of the shard is added up by itself. Where nearly all
    values differ, pieces are not added up and the files have no column of counts. A column whose type changes continues
    in another file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Write files into a folder.

        Args:
            folder: The folder.
            name: The stem of the files' names.
        """
        self._folder, self._name = folder, name
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._adds_up: bool | None = None

    def add(self, columns: list[pa.ChunkedArray], rows: np.ndarray) -> None:
        """Count the values of some rows.

        Args:
            columns: Their values, without the rows that do not count.
            rows: Their numbers in the shard.
        """
        names = [f"v{i}" for i in range(len(columns))]
        table = pa.table(dict(zip(names, columns, strict=True)) | {ROW: rows})
        if any(pa.types.is_null(column.type) for column in columns) and len(columns) == 1:
            return
        if any(pa.types.is_nested(column.type) for column in columns):
            raise TypeError("values of lists and objects are not counted")
        if self._adds_up is not False:
            summed = _add_up(table, names)
            if self._adds_up is None:
                self._adds_up = summed.num_rows * 2 <= table.num_rows
            table = summed if self._adds_up else table
        self._writer(table.schema).write_table(table)

    def close(self) -> list[str]:
        """Close the files and return their names, in the order of their first row."""
        for writer in self._writers.values():
            writer.close()
        return [f"{self._name}.{number}.parquet" for number in range(len(self._writers))]

    def _writer(self, schema: pa.Schema) -> pq.ParquetWriter:
        key = str(schema)
        if key not in self._writers:
            file = self._folder / f"{self._name}.{len(self._writers)}.parquet"
            self._writers[key] = pq.ParquetWriter(file, schema, compression="lz4", use_dictionary=False)
        return self._writers[key]


def _add_up(table: pa.Table, names: list[str]) -> pa.Table:
    grouped = table.group_by(names, use_threads=False).aggregate([([], "count_all"), (ROW, "min")])
    grouped = grouped.rename_columns([{"count_all": COUNT, f"{ROW}_min": ROW}.get(n, n) for n in grouped.column_names])
    return grouped.select([*names, ROW, COUNT])


class ValueCounts:
    """The value counts of all shards."""

    def __init__(self, files: list[tuple[Path, int]], types: list[pa.DataType], scratch: Path) -> None:
        """Merge the files of all shards when they are asked.

        Args:
            files: Each shard's file, with the number of the shard's first row in all the data.
            types: Types of the values in all the data.
            scratch: A folder for what does not fit into memory.
        """
        self._files, self._types, self._scratch = files, types, scratch
        self._names = [f"v{i}" for i in range(len(types))]

    def rows(self) -> int:
        """Return how many rows were counted."""
        return int(self._one(f"SELECT coalesce(sum({COUNT}), 0) FROM {{all}}")[0])

    def distinct(self) -> int:
        """Return how many distinct values, or combinations of values, there are."""
        values = ", ".join(self._names)
        return sum(
            int(self._one(f"SELECT count(*) FROM (SELECT {values} FROM {{all}} GROUP BY {values})", where)[0])
            for where in self._partitions()
        )

    def repeated(self, samples: int) -> tuple[int, pa.Table]:
        """Return how many rows hold a value that occurs more than once, and those of these values that begin first.

        Args:
            samples: The most values to return.
        """
        values = ", ".join(self._names)
        if self._is_unique():
            return 0, pa.table({name: pa.nulls(0, type_) for name, type_ in zip(self._names, self._types, strict=True)})
        total, first = 0, []
        for where in self._partitions():
            with self._connect() as connection:
                connection.execute(
                    f"CREATE TEMP TABLE repeated AS SELECT {values}, sum({COUNT}) AS n, min({ROW}) AS first "
                    f"FROM {self._all(where)} GROUP BY {values} HAVING n > 1"
                )
                total += int(connection.sql("SELECT coalesce(sum(n), 0) FROM repeated").fetchall()[0][0])
                first.append(
                    _arrow(connection.sql(f"SELECT {values}, first FROM repeated ORDER BY first LIMIT {samples}"))
                )
        table = pa.concat_tables(first).sort_by("first").slice(0, samples)
        return total, table.select(self._names)

    def undetermined(self, samples: int) -> tuple[int, pa.Table]:
        """Return how many rows hold a first value that occurs with several second ones, and their first combinations.

        Args:
            samples: The most combinations to return.
        """
        with self._connect() as connection:
            connection.execute(
                "CREATE TEMP TABLE undetermined AS SELECT v0, v1, n, first FROM ("
                f"SELECT v0, v1, sum({COUNT}) AS n, min({ROW}) AS first, count(*) OVER (PARTITION BY v0) AS others "
                f"FROM {self._all('true')} GROUP BY v0, v1) WHERE others > 1"
            )
            total = int(connection.sql("SELECT coalesce(sum(n), 0) FROM undetermined").fetchall()[0][0])
            return total, _arrow(connection.sql(f"SELECT v0, v1 FROM undetermined ORDER BY first LIMIT {samples}"))

    def sorted(self) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yield batches of distinct values in ascending order, each with the values' counts, int64."""
        with self._connect() as connection:
            query = f"SELECT v0, sum({COUNT})::BIGINT AS n FROM {self._all('true')} GROUP BY v0 ORDER BY v0"
            for batch in connection.sql(query).fetch_arrow_reader(100_000):
                yield batch.column(0).cast(self._types[0]), batch.column(1).to_numpy()

    def at(self, positions: list[int]) -> dict[int, pa.Scalar]:
        """Return the values at positions, from 0, of all the rows in order."""
        wanted, values_at, seen = sorted(set(positions)), {}, 0
        for values, counts in self.sorted():
            ends = seen + np.cumsum(counts)
            while wanted and wanted[0] < ends[-1]:
                place = int(np.searchsorted(ends, wanted[0], side="right"))
                values_at[wanted.pop(0)] = values[place]
            seen = int(ends[-1])
            if not wanted:
                break
        return values_at

    def _is_unique(self) -> bool:
        """Tell whether no value occurs twice, where sorting can tell, which costs a fraction of grouping."""
        type_ = self._types[0]
        if len(self._types) > 1 or not (pa.types.is_signed_integer(type_) or pa.types.is_temporal(type_)):
            return False
        if any(COUNT in pq.read_schema(file).names for file, _ in self._files):
            return False
        parts = -(-self._stored() // SORT_ROWS)
        return all(self._is_part_unique(part, parts) for part in range(parts))

    def _is_part_unique(self, part: int, parts: int) -> bool:
        values = np.empty(self._stored() if parts == 1 else 2 * SORT_ROWS, np.int64)
        filled = 0
        for file, _ in self._files:
            for batch in pq.ParquetFile(file).iter_batches(columns=["v0"], use_threads=False):
                numbers = _as_integers(batch.column(0).cast(self._types[0]))
                if parts > 1:
                    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing
                    numbers = numbers[(mixed >> np.uint64(40)) % np.uint64(parts) == part]
                if filled + len(numbers) > len(values):
                    return False  # hardly any values differ
                values[filled : filled + len(numbers)] = numbers
                filled += len(numbers)
        values = values[:filled]
        values.sort()
        return not bool((values[1:] == values[:-1]).any())

    def _stored(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file, _ in self._files)

    def _partitions(self) -> list[str]:
        parts = -(-self._stored() // GROUP_ROWS)
        values = ", ".join(self._names)
        return [f"hash({values}) % {parts} = {part}" for part in range(parts)] if parts > 1 else ["true"]

    def _one(self, query: str, where: str = "true") -> Any:
        with self._connect() as connection:
            return connection.sql(query.replace("{all}", self._all(where))).fetchall()[0]

    def _connect(self) -> duckdb.DuckDBPyConnection:
        threads = str(limits.cores())
        return duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(self._scratch), "threads": threads})

    def _all(self, where: str) -> str:
        casts = ", ".join(
            f"CAST(v{i} AS {_sql_type(type_)}) AS v{i}" if _sql_type(type_) else f"v{i}"
            for i, type_ in enumerate(self._types)
        )
        parts = []
        for file, start in self._files:
            count = COUNT if COUNT in pq.read_schema(file).names else f"1 AS {COUNT}"
            parts.append(f"SELECT {casts}, {count}, {ROW} + {start} AS {ROW} FROM read_parquet('{_quoted(file)}')")
        if not parts:
            empty = ", ".join(f"NULL AS v{i}" for i in range(len(self._types)))
            parts = [f"SELECT {empty}, 0 AS {COUNT}, 0 AS {ROW} WHERE false"]
        return f"(SELECT * FROM ({' UNION ALL '.join(parts)}) WHERE {where})"


def _as_integers(values: pa.Array) -> np.ndarray:
    """Return signed integers as they are, and times as the numbers that they are stored as."""
    if pa.types.is_temporal(values.type):
        values = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    return values.cast(pa.int64()).to_numpy()


def _sql_type(type_: pa.DataType) -> str | None:
    """Return the type that integers, or floating-point numbers, of different shards have in common."""
    if pa.types.is_floating(type_):
        return "DOUBLE"
    return "BIGINT" if pa.types.is_signed_integer(type_) else None


def _arrow(relation: Any) -> pa.Table:
    return relation.fetch_arrow_reader(100_000).read_all()


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")
