"""Finding and reading shards: what is found, and what every kind of bad input says."""

import gzip
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmill.core.errors import UserError, one_line
from modelmill.data import shards
from modelmill.data.reading import blocks

ZSTD = pa.Codec("zstd")


def read_bytes(folder: Path, name: str, data: bytes) -> pa.Table:
    (folder / name).write_bytes(data)
    (shard,) = shards.find(str(folder / name), "auto")
    return shards.read(shard)[0]


def compress(data: bytes) -> bytes:
    return bytes(ZSTD.compress(data, asbytes=True))


# --- finding


def test_a_compression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_EXPANDED", 1 << 20)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(UserError, match=r"bomb.jsonl.gz: expands to more than 0.000976562 GiB, and is 2,\d+ bytes"):
        shards.read(shards.find(str(tmp_path), "auto")[0])


def test_a_folder_is_searched_in_depth_sorted_and_without_hidden_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.jsonl.gz", "_SUCCESS", ".git/x.jsonl", "_tmp/x.jsonl", "a/.hidden.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b'{"a":1}\n') if name.endswith("gz") else b'{"a":1}\n')
    found = shards.find(str(tmp_path), "auto")
    assert [(s.path, s.format, s.compression) for s in found] == [
        ("a/z.jsonl.gz", "jsonl", "gz"),
        ("b.jsonl", "jsonl", None),
    ]
    assert [s.bytes for s in found] == [(tmp_path / s.path).stat().st_size for s in found]


def test_a_glob_pattern_takes_what_it_matches_relative_to_its_fixed_part(tmp_path: Path) -> None:
    for name in ("x/a.csv", "x/y/b.csv", "x/c.txt", "z/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("a\n1\n")
    assert [s.path for s in shards.find(f"{tmp_path}/x/*.csv", "auto")] == ["a.csv"]
    assert [s.path for s in shards.find(f"{tmp_path}/**/*.csv", "auto")] == ["x/a.csv", "x/y/b.csv", "z/d.csv"]


def test_a_forced_format_takes_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "events.log").write_text('{"a": 1}\n')
    (shard,) = shards.find(str(tmp_path), "jsonl")
    assert shards.read(shard)[0].to_pylist() == [{"a": 1}]


def test_the_fingerprint_follows_names_and_content_but_not_the_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text("a\n1\n")
    one, two = (shards.fingerprint(shards.find(str(tmp_path / f), "auto")) for f in ("one", "two"))
    assert one == two
    (tmp_path / "two" / "a.csv").write_text("a\n2\n")
    changed = shards.fingerprint(shards.find(str(tmp_path / "two"), "auto"))
    (tmp_path / "one" / "a.csv").rename(tmp_path / "one" / "b.csv")
    renamed = shards.fingerprint(shards.find(str(tmp_path / "one"), "auto"))
    assert len({one, changed, renamed}) == 3


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.path: .*nothing: no such file or folder"):
        shards.find(str(tmp_path / "nothing"), "auto")


@pytest.mark.parametrize("pattern", ["", "/*.csv"])
def test_a_place_without_data_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(UserError, match=r"^data\.path: .*no data files"):
        shards.find(f"{tmp_path}{pattern}", "auto")


def test_an_unknown_suffix_is_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.xml").write_text("x")
    with pytest.raises(UserError, match=r"^data\.path: .*rows\.xml: unknown suffix '\.xml'.*data\.format"):
        shards.find(str(tmp_path), "auto")


def test_files_that_are_no_data_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    for name in ("a.csv", "README.md", "LICENSE", "schema.json", "old.csv"):
        (tmp_path / name).write_text("a\n1\n")
    assert [shard.path for shard in shards.find(str(tmp_path), "auto")] == ["a.csv", "old.csv"]
    assert [shard.path for shard in shards.find(str(tmp_path), "auto", ignore=["*.md", "L*", "*.json", "OLD*"])] == [
        "a.csv"
    ]
    assert len(shards.find(str(tmp_path), "csv")) == 5, "what format says is all data"
    assert [shard.path for shard in shards.find(f"{tmp_path}/schema.json", "jsonl")] == ["schema.json"]
    for name in ("a.csv", "old.csv", "schema.json"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"no data files there; .* is none \(data\.ignore\)"):
        shards.find(str(tmp_path), "auto")


def test_a_pattern_does_not_follow_a_folder_out_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("x")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(UserError, match="link: a link that leads out of"):
        shards.find(f"{tmp_path}/in/**/*.txt", "auto")


def test_mixed_formats_are_refused_with_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"^data\.path: mixed formats: a\.csv is csv, b\.jsonl is jsonl"):
        shards.find(str(tmp_path), "auto")


@pytest.mark.parametrize("what", ["secret.txt", "folder"])
def test_a_link_that_leads_out_of_the_data_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "secret.txt").write_text("s")
    (tmp_path / "folder").mkdir()
    (tmp_path / "data" / "link.txt").symlink_to(tmp_path / what)
    with pytest.raises(UserError, match=r"^data\.path: .*link\.txt: a link that leads out"):
        shards.find(str(tmp_path / "data"), "auto")


def test_a_link_inside_the_data_is_followed(tmp_path: Path) -> None:
    """A mounted Kubernetes volume links its files to a hidden folder."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a.txt").write_text("a")
    (tmp_path / "a.txt").symlink_to(Path("..data") / "a.txt")
    assert [s.path for s in shards.find(str(tmp_path), "auto")] == ["a.txt"]


def test_a_link_to_nothing_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("gone")
    with pytest.raises(UserError, match=r"a\.txt: a link to nothing"):
        shards.find(str(tmp_path), "auto")
    (tmp_path / "a.txt").unlink()
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt: not a regular file"):
        shards.find(str(tmp_path), "auto")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(UserError, match=r"^data\.path: .*a\.txt: cannot be read \(Permission denied\)"):
        shards.find(str(tmp_path), "auto")


def test_another_scheme_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data\.path: gs://b/x"):
        shards.find("gs://b/x", "auto")


# --- reading


def test_jsonl_columns_are_the_union_of_the_keys(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"a":1}\n\n{"b":"x\xe2\x80\xa8y","a":2.5}\r\n{"c":null}')
    assert table.to_pylist() == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 2.5, "b": "x\u2028y", "c": None},
        {"a": None, "b": None, "c": None},
    ]


@pytest.mark.parametrize("suffix, pack", [("", bytes), (".gz", gzip.compress), (".zst", compress)])
def test_every_format_reads_back_under_every_compression(tmp_path: Path, suffix: str, pack: Any) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    assert read_bytes(tmp_path, "a.parquet" + suffix, pack(sink.getvalue().to_pybytes())) == table
    assert read_bytes(tmp_path, "a.csv" + suffix, pack(b"a,b\n1,x\n2,\n")) == table
    assert read_bytes(tmp_path, "a.jsonl" + suffix, pack(b'{"a":1,"b":"x"}\n{"a":2}\n')) == table
    text = read_bytes(tmp_path, "a.txt" + suffix, pack("Grüße\n".encode()))
    assert text.to_pylist() == [{"path": "a.txt" + suffix, "text": "Grüße\n", "bytes": 8}]


JSON_COLUMNS = {
    "t": st.text(),
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "b": st.booleans(),
    "l": st.lists(st.text()),
}
ROWS = st.lists(st.fixed_dictionaries({k: st.none() | v for k, v in JSON_COLUMNS.items()}), min_size=1)


@given(rows=ROWS, ascii=st.booleans())
@settings(max_examples=60, deadline=None)
def test_jsonl_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], ascii: bool) -> None:
    data = "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows).encode()
    assert read_bytes(tmp_path_factory.mktemp("r"), "a.jsonl", data).to_pylist() == rows


PARQUET = pa.BufferOutputStream()
pq.write_table(pa.table({"a": list(range(1000))}), PARQUET)
WHOLE_PARQUET = PARQUET.getvalue().to_pybytes()
ROWS_JSONL = b'{"a":1}\n' * 1000

BAD = {
    "gzip cut off": ("a.jsonl.gz", gzip.compress(ROWS_JSONL)[:-9], r"a\.jsonl\.gz:\d+: the gz stream is cut off"),
    "zstd cut off": ("a.jsonl.zst", compress(ROWS_JSONL)[:-4], r"a\.jsonl\.zst:\d+: the zst stream is cut off"),
    "not gzip": ("a.jsonl.gz", ROWS_JSONL, r"a\.jsonl\.gz:1: the gz stream is broken \(Not a gzipped"),
    "parquet cut off": ("a.parquet", WHOLE_PARQUET[:-100], r"a\.parquet: cut off or not Parquet"),
    "parquet broken": ("a.parquet", WHOLE_PARQUET[:100] + WHOLE_PARQUET[200:], r"a\.parquet: broken Parquet"),
    "jsonl cut off": ("a.jsonl", b'{"a":1}\n{"a":', r"a\.jsonl:2: cut off in the middle"),
    "not JSON": ("a.jsonl", b'{"a":1}\n\n{"a":}\n{"a":2}\n', r"a\.jsonl:3: not valid JSON"),
    "NaN is not JSON": ("a.jsonl", b'{"a":NaN}\n', r"a\.jsonl:1: not valid JSON \(NaN"),
    "deep JSON": ("a.jsonl", b'{"a":' + b"[" * 100_000 + b"\n", r"a\.jsonl:1: not valid JSON"),
    "not an object": ("a.jsonl", b'{"a":1}\n[1]\n', r"a\.jsonl:2: a line holds one JSON object, this is array"),
    "text among numbers": ("a.jsonl", b'{"a":1}\n{}\n{"a":"x"}\n', r"a\.jsonl:3: column 'a' has conflicting types"),
    "true among floats": ("a.jsonl", b'{"a":1.5}\n{"a":true}\n', r"a\.jsonl:2: column 'a' has conflicting types"),
    "conflict inside": ("a.jsonl", b'{"a":[1]}\n{"a":[2]}\n{"a":["x"]}\n{"a":[3]}\n', r"a\.jsonl:3: column 'a'"),
    "huge integer": ("a.jsonl", b'{"a":1}\n{"a":1e3}\n{"a":99999999999999999999}\n', r"a\.jsonl:3: column 'a'"),
    "lone surrogate": ("a.jsonl", b'{"a":"x"}\n{"a":"\\ud800"}\n', r"a\.jsonl:2: column 'a'"),
    "jsonl not UTF-8": ("a.jsonl", b'{"a":1}\n{"a":"\xff"}\n', r"a\.jsonl:2: not UTF-8 \(byte 0xff\)"),
    "csv not UTF-8": ("a.csv", b"a,b\n1,2\n1,\xe9\n", r"a\.csv:3: not UTF-8"),
    "text not UTF-8": ("a.txt", b"one\ntwo\xc3", r"a\.txt:2: not UTF-8"),
    "csv row too short": ("a.csv", b'a,b\n1,"x\ny"\n3\n', r"a\.csv:4: 1 fields, the header has 2"),
    "csv row too long": ("a.csv", b"a,b\n1,2\n3,4,5\n", r"a\.csv:3: 3 fields, the header has 2"),
    "csv quote left open": ("a.csv", b'a,b\n1,"x\n2,y\n', r"a\.csv:3: not valid CSV"),
    "csv column twice": ("a.csv", b"a,a\n1,2\n", r"a\.csv:1: column 'a' appears twice"),
    "csv column without name": ("a.csv", b"a,\n1,2\n", r"a\.csv:1: a column has no name"),
    "csv of blank lines": ("a.csv", b"\n\n", r"a\.csv:1: not a CSV file"),
    "empty": ("a.jsonl", b"", r"a\.jsonl: empty \(0 bytes\)"),
    "empty inside": ("a.csv.gz", gzip.compress(b""), r"a\.csv\.gz: empty"),
}


@pytest.mark.parametrize("name, data, message", BAD.values(), ids=BAD)
def test_a_broken_shard_is_refused_with_file_and_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_bytes(tmp_path, name, data)
    assert len(one_line(caught.value)) < 400


def test_a_csv_field_of_three_megabytes_is_read(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, "a.csv", b'a,b\n1,"' + b"x" * 3_000_000 + b'"\n')
    assert len(table["b"][0].as_py()) == 3_000_000


def test_a_csv_column_is_typed_by_its_last_value_too(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, "a.csv", b"a\n" + b"1\n" * 700_000 + b"x\n")
    assert table.schema.field("a").type == pa.string()


def test_a_shard_that_changed_since_it_was_found_or_validated_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a":1}\n')
    (shard,) = shards.find(str(file), "auto")
    table, sha256 = shards.read(shard)
    assert shards.read(shard, sha256) == (table, sha256)
    with pytest.raises(UserError, match=r"a\.jsonl: changed since it was validated; run again"):
        shards.read(shard, "0" * 64)
    file.write_text('{"a":2}\n')
    with pytest.raises(UserError, match="changed since it was validated"):
        shards.read(shard)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", compress)])
def test_a_compressed_file_that_is_cut_off_says_about_which_line(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    lines = [json.dumps({"noise": random.Random(n).randbytes(16).hex()}).encode() + b"\n" for n in range(20_000)]
    packed = pack(b"".join(lines))
    with pytest.raises(UserError) as raised:
        read_bytes(tmp_path, f"a.jsonl{suffix}", packed[: len(packed) // 2])
    found = re.search(rf"a\.jsonl\{suffix}:(\d+): the \w+ stream is cut off", str(raised.value))
    assert found is not None and 8_000 < int(found.group(1)) < 12_000
