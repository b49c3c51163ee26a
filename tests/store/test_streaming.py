"""Shards straight from S3: in ranges, of one version, also over a connection that breaks."""

import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelmill.core.errors import UserError
from modelmill.data import data_files, shards
from modelmill.store import s3_client
from tests.seaweedfs import SeaweedFS
from tests.store.proxy import Proxy

ROWS = [{"n": n, "text": f"row {n} " * 20} for n in range(20_000)]


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=3000)
    return bytes(sink.getvalue().to_pybytes())


OBJECTS = {
    "a.parquet": parquet,
    "a.jsonl": lambda: "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "a.csv": lambda: ("n,text\n" + "".join(f"{row['n']},{row['text']}\n" for row in ROWS)).encode(),
}


@pytest.fixture(params=OBJECTS)
def found(request: pytest.FixtureRequest, seaweedfs: SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shard that is read in ranges of 64 KiB, and its bytes."""
    monkeypatch.setattr(data_files, "WHOLE", 0)
    monkeypatch.setattr(data_files, "_RANGE", 1 << 16)
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    data = OBJECTS[request.param]()
    seaweedfs.client().put_object(Bucket=bucket, Key=f"{prefix}/{request.param}", Body=data)
    (shard,) = shards.find(f"{s3_uri}/{request.param}", "auto")
    return shard, data


def test_a_large_object_is_read_in_ranges_and_hashed(found: Any) -> None:
    shard, data = found
    table, sha256 = shards.read(shard)
    assert [row["n"] for row in table.to_pylist()] == [row["n"] for row in ROWS]
    assert sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(UserError, match="changed since it was validated"):
        shards.read(shard, "0" * 64)


def test_a_connection_that_breaks_costs_the_range_that_was_on_its_way(found: Any, proxy: Proxy) -> None:
    shard, _ = found
    proxy.cut("answers", after=30_000, times=2)
    assert shards.read(shard)[0].num_rows == len(ROWS)
    assert proxy.cuts == 2


def test_a_connection_that_always_breaks_ends_in_one_line(found: Any, proxy: Proxy) -> None:
    shard, _ = found
    proxy.cut("answers", after=30_000, times=1000)
    with pytest.raises(UserError, match=r"^s3://") as raised:
        shards.read(shard)
    assert "\n" not in str(raised.value)


def test_an_object_that_changes_while_it_is_read_is_no_longer_the_shard(found: Any, seaweedfs: SeaweedFS) -> None:
    shard, data = found
    bucket, _, key = shard.uri.removeprefix("s3://").partition("/")
    pieces = iter(shards.Stream(shard))
    seaweedfs.client().put_object(Bucket=bucket, Key=key, Body=data[::-1])
    with pytest.raises(UserError, match="changed since it was validated; run again"):
        list(pieces)


def test_validation_reads_s3_as_it_reads_a_folder(found: Any, tmp_path: Path) -> None:
    from modelmill.components.data_validation import contract

    shard, data = found
    (tmp_path / shard.path).write_bytes(data)
    suite = {"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"column": "n"}}]}
    local = shards.find(str(tmp_path), "auto")
    remote, here = (contract.judge("data", [one], suite, lambda *_: None) for one in (shard, local[0]))
    assert remote.success and remote.result == here.result
    assert remote.dataset.entries == here.dataset.entries


def test_a_forked_process_does_not_speak_on_its_parents_connections(s3_uri: str) -> None:
    mine = s3_client.shared()
    assert s3_client.shared() is mine
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(_is_shared, id(mine)).result() is False


def _is_shared(known: int) -> bool:
    return id(s3_client.shared()) == known
