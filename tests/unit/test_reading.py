"""Shards read in blocks are what they would be as a whole, wherever the blocks end, in little memory."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.data.reading import blocks, delimited, json_lines

SMALL = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(folder: Path, name: str, data: bytes, pieces: bool = False) -> Any:
    (folder / name).write_bytes(data)
    (shard,) = shards.find(str(folder / name), "auto")
    return [*shards.Stream(shard)] if pieces else shards.read(shard)[0]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes."""
    monkeypatch.setattr(blocks, "_CHUNK", 7)
    monkeypatch.setattr(blocks, "_COMPRESSED_CHUNK", 5)
    monkeypatch.setattr(json_lines, "BLOCK", 40)
    monkeypatch.setattr(delimited, "BLOCK", 16)


PLAIN = [
    "",
    "1",
    "0",
    "-7",
    "2.5",
    "1e3",
    "2e-05",
    "007",
    "-0",
    "true",
    "false",
    "NA",
    "x",
    "ü",
    "99999999999999999999",
    "'",
]
TIMES = ["2024-01-01", "2024-01-01 10:00:00", "2024-01-01 10:00:00.5", "10:00:00"]
QUOTED = ['say "hi"', "a,b", "two\nlines", "\r\n"]
FIELDS = st.sampled_from(PLAIN + TIMES + QUOTED)
CSVS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), min_size=1, max_size=12)
)


@SMALL
@given(CSVS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_a_csv_in_blocks_has_the_types_and_values_of_the_whole(
    tiny: None, tmp_path: Path, rows: list[list[str]], end: str, quoting: Any
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    writer.writerows([[f"c{n}" for n in range(len(rows[0]))], *rows])
    data = text.getvalue().encode()
    found = read(tmp_path, "a.csv", data)
    for place in range(len(rows[0])):
        assert found[f"c{place}"].to_pylist() == values_of([row[place] for row in rows])


def values_of(texts: list[str]) -> list[Any]:
    """What the texts of a CSV column are: numbers if each of them stays what it is as one."""
    present = [text for text in texts if text not in ("", "NA")]
    if present and all(re.fullmatch(r"0|-?[1-9]\d*", text) and len(text) < 19 for text in present):
        return [None if text in ("", "NA") else int(text) for text in texts]
    if present and all(re.fullmatch(r"-?(0|[1-9]\d*)?(\.\d+)?(\de-\d+)?", t) and len(t) < 19 for t in present):
        return [None if text in ("", "NA") else float(text) for text in texts]
    return [text or None for text in texts]


JSON_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | st.integers(-(2**53), 2**53),
        "f": st.none() | st.integers(-99, 99) | st.floats(-1e9, 1e9),
        "t": st.none() | st.text(st.characters(codec="utf-8"), max_size=9),
        "b": st.none() | st.booleans(),
        "l": st.none() | st.lists(st.integers(0, 9), max_size=3),
        "o": st.none() | st.fixed_dictionaries({}, optional={"x": st.integers(0, 9), "y": st.text("ab", max_size=2)}),
    },
)


@SMALL
@given(st.lists(JSON_ROWS, min_size=1, max_size=15), st.booleans())
def test_json_lines_in_blocks_are_those_of_the_whole(tmp_path: Path, rows: list[Any], packed: bool) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    name, data = ("a.jsonl.gz", gzip.compress(data)) if packed else ("a.jsonl", data)
    whole = read(tmp_path, name, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "BLOCK", 30)
        patch.setattr(blocks, "_CHUNK", 7)
        patch.setattr(blocks, "_COMPRESSED_CHUNK", 5)
        found = read(tmp_path, name, data)
    assert found.to_pylist() == whole.to_pylist()
    assert set(found.schema.names) == set(whole.schema.names)
    assert all(
        found.schema.field(name).type == whole.schema.field(name).type for name in found.schema.names if name != "o"
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n' * 9 + b'{"a": "x"}\n', "a.jsonl:10: column 'a' has conflicting types: string here"),
        ("a.jsonl", b'{"a": [1]}\n' * 12 + b'{"a": ["x"]}\n' * 4, ": from this line on, values have other types"),
        ("a.jsonl", b'{"a": 1}\n' * 9 + b'{"a": 1\n', "a.jsonl:10: not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n' * 9 + b'{"a": 1', "a.jsonl:10: cut off in the middle of a line"),
        ("a.jsonl", b'{"a": 1}\n' * 9 + b'{"a": "\xff"}\n', "a.jsonl:10: not UTF-8"),
        ("a.csv", b"a,b\n" + b"1,2\n" * 9 + b"3\n", "a.csv:11: 1 fields, the header has 2"),
        ("a.csv", b"a,b\n" + b'1,"x\ny"\n' * 9 + b"3\n", "a.csv:20: 1 fields, the header has 2"),
        ("a.csv", b"a,b\n" + b"1,2\n" * 9 + b'3,"x\n1,2\n', "a.csv:12: not valid CSV"),
        ("a.csv", b"a,b\n" + b"1,2\n" * 9 + b"3,\xe9\n", "a.csv:11: not UTF-8"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_later_block_is_named_by_its_line(
    tiny: None, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, name, data, pieces=True)
    assert message in str(raised.value)


def test_a_line_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(json_lines, "BLOCK", 1 << 16)
    data = gzip.compress(b"{}\n\n" + b" " * (3 << 20))
    with pytest.raises(
        UserError, match=r"a\.jsonl\.gz:3: from here on 1 MiB without the end of a line; split the file"
    ):
        read(tmp_path, "a.jsonl.gz", data)


def test_a_parquet_file_whose_row_group_would_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_EXPANDED", 1 << 20)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": ["x" * 1000] * 100_000}), sink, use_dictionary=False, compression="zstd")
    assert sink.tell() < 1 << 18
    with pytest.raises(UserError, match="expands to more than"):
        read(tmp_path, "bomb.parquet", sink.getvalue().to_pybytes())


PEAK = """
import sys
from pathlib import Path
from modelmill.data import shards
(shard,) = shards.find(sys.argv[1], "auto")
rows = sum(piece.num_rows for piece in shards.Stream(shard))
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(rows, int(peak) // 1024)
"""


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv"])
def test_memory_does_not_grow_with_a_shard(name: str, tmp_path: Path) -> None:
    row = json.dumps({"id": 1, "text": "x" * 990}) + "\n" if "json" in name else "1," + "x" * 990 + "\n"
    peaks = []
    for count in (70_000, 280_000):
        data = (("" if "json" in name else "id,text\n") + row * count).encode()
        (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
        done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / name], capture_output=True, text=True, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak)
    assert peaks[1] < 1.25 * peaks[0], peaks
