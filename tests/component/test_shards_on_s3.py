"""Shards in a bucket of a real S3 store: found and read as those in a folder are."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.errors import UserError
from modelmill.data import shards


def put(server: Any, bucket: str, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        server.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=data)


def test_s3_finds_and_reads_what_a_folder_would(seaweedfs: Any, bucket: str, tmp_path: Path) -> None:
    objects = {
        "a.jsonl": b'{"a":1}\n',
        "sub/b.jsonl.gz": gzip.compress(b'{"a":2}\n'),
        "_SUCCESS": b"",
        ".x/c.txt": b"x",
    }
    put(seaweedfs, bucket, {f"raw/{k}": v for k, v in objects.items()} | {"rawer/z.jsonl": b"{}"})
    for name, data in objects.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    remote, local = shards.find(f"{bucket}/raw", "auto"), shards.find(str(tmp_path), "auto")
    assert [s[:1] + s[2:3] + s[4:] for s in remote] == [s[:1] + s[2:3] + s[4:] for s in local]
    assert [shards.read(s) for s in remote] == [shards.read(s) for s in local]


@pytest.mark.parametrize(
    "rest, expected",
    [
        ("raw/*.csv", ["a.csv"]),
        ("raw/**/*.csv", ["a.csv", "s/b.csv"]),
        ("raw/a.csv", ["a.csv"]),
        ("", ["raw/a.csv", "raw/s/b.csv"]),
    ],
)
def test_s3_takes_patterns_and_single_objects(seaweedfs: Any, bucket: str, rest: str, expected: list[str]) -> None:
    put(seaweedfs, bucket, {"raw/a.csv": b"a\n1\n", "raw/s/b.csv": b"a\n1\n"})
    assert [s.path for s in shards.find(f"{bucket}/{rest}", "auto")] == expected


@pytest.mark.parametrize("name", ["day[1]", "what?", "all*"])
def test_s3_takes_a_name_for_what_it_is_before_it_takes_it_for_a_pattern(
    seaweedfs: Any, bucket: str, name: str
) -> None:
    for sibling in (name, "day1", "whats", "allofit"):
        put(seaweedfs, bucket, {f"raw/{sibling}/a.csv": b"a\n1\n", f"raw/{sibling}.csv": b"a\n1\n"})
    assert [s.uri for s in shards.find(f"{bucket}/raw/{name}", "auto")] == [f"{bucket}/raw/{name}/a.csv"]
    assert [s.uri for s in shards.find(f"{bucket}/raw/{name}.csv", "auto")] == [f"{bucket}/raw/{name}.csv"]


def test_s3_refuses_an_object_that_changed_or_went(seaweedfs: Any, bucket: str) -> None:
    put(seaweedfs, bucket, {"a.csv": b"a\n1\n"})
    (shard,) = shards.find(bucket, "auto")
    put(seaweedfs, bucket, {"a.csv": b"a\n2\n"})
    with pytest.raises(UserError, match=r"a\.csv: changed since it was validated; run again"):
        shards.read(shard)
    seaweedfs.client().delete_object(Bucket=bucket.removeprefix("s3://"), Key="a.csv")
    with pytest.raises(UserError, match=r"a\.csv: gone since it was listed"):
        shards.read(shard)


def test_s3_says_when_nothing_is_there(bucket: str) -> None:
    with pytest.raises(UserError, match=r"^data\.path: s3://no-such-bucket-here.*there is no bucket"):
        shards.find("s3://no-such-bucket-here/x", "auto")
    with pytest.raises(UserError, match=r"^data\.path: .*no data files"):
        shards.find(f"{bucket}/nothing", "auto")


def test_s3_says_when_it_is_refused_without_showing_secrets(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(UserError, match=r"^data\.path: s3://.*refuses the credentials") as caught:
        shards.find(f"{bucket}/x", "auto")
    assert "wrong-secret" not in str(caught.value) and os.environ["AWS_ACCESS_KEY_ID"] not in str(caught.value)
