"""Nested data: arrays of JSON and Arrow files are read as JSON Lines are, and nested columns as their JSON."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.data.reading import blocks, json_array, json_rows

SMALL = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHATS: list[dict[str, Any]] = [
    {"id": 1, "messages": [{"role": "user", "content": "Grüße\n[{"}, {"role": "assistant", "content": "b"}]},
    {"id": 2, "messages": [{"content": "c", "role": "user", "weight": 1}], "tools": [{"name": "f", "at": {"z": 1}}]},
]
TEXT = {"messages": "text", "tools": "text"}


def find(path: Path, **chosen: Any) -> shards.Shard:
    (shard,) = shards.with_types(shards.find(str(path), "auto"), chosen)
    return shard


def read(folder: Path, name: str, data: bytes, **chosen: Any) -> pa.Table:
    (folder / name).write_bytes(data)
    table, sha256 = shards.read(find(folder / name, **chosen))
    assert sha256 == digest.of_bytes(data)
    return table


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes."""
    monkeypatch.setattr(blocks, "_CHUNK", 7)
    monkeypatch.setattr(blocks, "_COMPRESSED_CHUNK", 5)
    monkeypatch.setattr(json_array, "_STEP", 3)
    monkeypatch.setattr(json_rows, "BLOCK", 40)


ROWS = st.lists(
    st.fixed_dictionaries(
        {"n": st.integers(-9, 9)},
        optional={
            "t": st.none() | st.text(st.characters(codec="utf-8"), max_size=9),
            "l": st.lists(st.sampled_from(["[", "}", '"', "\\", ","]), max_size=3),
        },
    ),
    max_size=12,
)


@SMALL
@given(ROWS, st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_an_array_is_read_as_json_lines_are_wherever_blocks_end(
    tiny: None, tmp_path: Path, rows: list[Any], indent: int | None, is_ascii: bool, packed: bool
) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode()
    name, data = ("a.json.gz", gzip.compress(data)) if packed else ("a.json", data)
    found = read(tmp_path, name, data).to_pylist()
    assert [{key: row[key] for key in given} for row, given in zip(found, rows, strict=True)] == rows


def test_objects_one_after_another_are_read_whatever_the_name(tiny: None, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"a": n}) + "\n" for n in range(30))
    assert read(tmp_path, "a.json", lines.encode())["a"].to_pylist() == list(range(30))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.json: empty"),
        (b'[\n{"a": 1},\n{"a": 1\n', "a.json:4: cut off in the middle of an object"),
        (b'[\n{"a": 1},\n{"a": "x', "a.json:3: cut off in the middle of an object"),
        (b'[\n{"a": 1}\n', "a.json:3: cut off in the middle of the array"),
        (b'[\n{"a": 1},\n{"a" 1}]', "a.json:3: not valid JSON (Expecting ':' delimiter)"),
        (b'[\n{"a": NaN}]', "a.json:2: not valid JSON (NaN is not JSON)"),
        (b'[\n{"a": 1}\n{"a": 2}]', "a.json:3: not valid JSON: a comma or the end of the array belongs here"),
        (b'[\n{"a": 1},\n]', "a.json:3: an object belongs after the comma"),
        (b"[1, 2]", "a.json:1: not valid JSON: an object belongs here; a file of data holds an array of objects"),
        (b'[{"a": 1}]\n[', "a.json:2: not valid JSON: there is something after the rows"),
        (b'"text"', "a.json:1: not an array of objects"),
        (b'{"data":\n []}', "a.json:2: one object, and not an array of objects"),
        (b'[\n{"a": "\xff"}]', "a.json:2: not UTF-8 (byte 0xff)"),
        (b'[\n{"a": "\xc3', "a.json:2: not UTF-8 (byte 0xc3)"),
        (b'[{"a": 1},\n{"a": "x"}]', "a.json:2: column 'a' has conflicting types: string here, number before"),
        (b'[{"a":' + b"[" * 100_000, "a.json:1: not valid JSON"),
    ],
)
def test_a_mistake_in_an_array_is_named_by_its_line(tiny: None, tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, "a.json", data)
    assert message in str(raised.value)


def test_an_object_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1 << 16)
    monkeypatch.setattr(json_array, "_STEP", 1 << 12)
    with pytest.raises(UserError, match=r"a\.json\.gz:1: not valid JSON \(Unterminated string"):
        read(tmp_path, "a.json.gz", gzip.compress(b'[{"a": "' + b"x" * (1 << 20)))


def test_json_is_data_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "a.json").write_text("[]")
    assert [shard.path for shard in shards.find(str(tmp_path), "auto")] == ["a.json"]
    (tmp_path / "b.csv").write_text("a\n1\n")
    assert [shard.path for shard in shards.find(str(tmp_path), "auto")] == ["b.csv"]
    assert [shard.path for shard in shards.find(f"{tmp_path}/*.json", "auto")] == ["a.json"]


def arrow(table: pa.Table, is_indexed: bool = False) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_file if is_indexed else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


@pytest.mark.parametrize("is_indexed", [False, True])
@pytest.mark.parametrize("name", ["a.arrow", "a.arrow.zst"])
def test_arrow_is_read_in_its_batches(tmp_path: Path, name: str, is_indexed: bool) -> None:
    table = pa.Table.from_pylist([{"n": n, "messages": CHATS[n % 2]["messages"]} for n in range(5)])
    data = arrow(table, is_indexed)
    data = bytes(pa.Codec("zstd").compress(data, asbytes=True)) if name.endswith("zst") else data
    assert read(tmp_path, name, data) == table
    assert [piece.num_rows for piece in shards.Stream(find(tmp_path / name))] == [2, 2, 1]
    nothing = arrow(table.slice(0, 0), is_indexed)
    assert read(tmp_path, "b.arrow", nothing).schema == table.schema


@pytest.mark.parametrize("is_indexed", [False, True])
def test_arrow_that_is_broken_says_so(tmp_path: Path, is_indexed: bool) -> None:
    table = pa.table({"t": ["a", "bc", "d"]})
    data = arrow(table, is_indexed)
    for cut in (b"", data[:5], data[:-8], data[: len(data) // 2]):
        with pytest.raises(UserError, match=r"a\.arrow: (empty|cut off or not Arrow)"):
            read(tmp_path, "a.arrow", cut)
    beyond = data.replace(b"\0\0\0\0\1\0\0\0\3\0\0\0", b"\0\0\0\0\1\0\0\0\xff\0\0\0")
    assert beyond != data
    with pytest.raises(UserError, match=r"a\.arrow: broken Arrow"):
        read(tmp_path, "a.arrow", beyond)


def test_what_the_library_datasets_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(CHATS)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / "train" / "cache-0123456789abcdef.arrow").write_bytes(b"no data")
    found = shards.find(str(tmp_path / "saved"), "auto")
    assert [(shard.path, shard.format) for shard in found] == [
        (f"{split}/data-00000-of-00001.arrow", "arrow") for split in ("test", "train")
    ]
    assert shards.read(found[0])[0]["id"].to_pylist() == [1, 2]
    (shard,) = shards.with_types(found[:1], {"messages": "text"})
    assert [json.loads(text) for text in shards.read(shard)[0]["messages"].to_pylist()] == [
        row["messages"] for row in sorted_keys(CHATS)
    ]


def sorted_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as equality sees them: the order of keys is none of its business."""
    return [json.loads(json.dumps(row, sort_keys=True)) for row in rows]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_nested_column_of_text_is_its_json_to_the_letter(tmp_path: Path, name: str) -> None:
    rows = [
        *CHATS,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "tools": None},
        {"messages": '[{"role": "user"}]', "tools": [{"at": {"x": 1.0, "n": None}}, {"at": 2**70}]},
    ]
    lines = json.dumps(rows) if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows)
    found = read(tmp_path, name, lines.encode(), **TEXT)
    for column in TEXT:
        wanted = [row.get(column) for row in rows]
        texts = [json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in wanted]
        assert found[column].to_pylist() == texts


def test_a_nested_column_of_parquet_is_json_without_the_nulls_of_others(tmp_path: Path) -> None:
    sink = io.BytesIO()
    table = pa.table({name: [row.get(name) for row in CHATS] for name in ("messages", "tools")})
    assert table.to_pylist()[0]["messages"][0]["weight"] is None
    pq.write_table(table, sink)
    found = read(tmp_path, "a.parquet", sink.getvalue(), **TEXT)
    assert [json.loads(text) for text in found["messages"].to_pylist()] == [row["messages"] for row in CHATS]
    assert found["tools"].to_pylist() == [None, '[{"name": "f", "at": {"z": 1}}]']


def test_nested_values_that_no_type_fits_say_how_they_can_be_read(tmp_path: Path) -> None:
    rows = [{"messages": [{"content": "a"}]}, {"messages": [{"content": ["a"]}]}]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with pytest.raises(UserError, match=r"a\.jsonl:2: column 'messages': .* with data\.columns: {messages: text}"):
        read(tmp_path, "a.jsonl", data)
