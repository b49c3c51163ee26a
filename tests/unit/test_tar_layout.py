"""WebDataset tars: the rows that samples become, and what a tar that is cut, changed or leads out is told."""

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.data.media import audio, images, joining
from modelmill.data.reading import tar
from tests.layouts import SAMPLES, fails, only, read, write_all, write_tar
from tests.media import png


def test_a_sample_of_a_tar_is_a_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "shard-0.tar", SAMPLES)
    rows = read(tmp_path, "webdataset")
    assert [only(row, "key", "file", "cls", "caption", "json_width", "width", "readable") for row in rows] == [
        ["000", "000.png", "3", "one", 9, 6, True],
        ["x/001", "x/001.png", "4", "two", 8, 6, True],
    ]
    plain = read(tmp_path, "webdataset", None)
    assert [only(row, "key", "caption") for row in plain] == [["000", "one"], ["x/001", "two"]]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shard-0.tar"], "nothing is extracted"


def test_what_is_measured_of_files_is_known_to_tars() -> None:
    assert {*images.COLUMNS, *audio.COLUMNS, *joining.COLUMNS} == tar.MEASURED


def link(kind: bytes, name: str = "a.png", target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member, message",
    [
        (link(tarfile.SYMTYPE), "'a.png' is a link to '/etc/passwd'; write the tar with files alone"),
        (link(tarfile.LNKTYPE, target="000.png"), "'a.png' is a link to '000.png'"),
        (link(tarfile.CHRTYPE), "'a.png' is no plain file"),
        (link(tarfile.FIFOTYPE), "'a.png' is no plain file"),
        (tarfile.TarInfo("/tmp/a.png"), "'/tmp/a.png' is a path that leads out of the tar"),
        (tarfile.TarInfo("x/../../a.png"), "'x/../../a.png' is a path that leads out of the tar"),
    ],
)
def test_a_tar_that_leads_out_is_refused(tmp_path: Path, member: tarfile.TarInfo, message: str) -> None:
    write_tar(tmp_path / "a.tar", SAMPLES, member)
    for media in ("images", None):
        assert message in fails(tmp_path, "webdataset", media)


@pytest.mark.parametrize(
    "members, message",
    [
        ({"0.png": png(), "0.jpg": png()}, "0.jpg: the sample has two members that give it 'file'; leave one out"),
        ({"0.png": png(), "1.png": png(), "0.cls": "1"}, "sample '0' is in two places; write its members side by side"),
        ({"0.json": "[1]"}, "0.json: the JSON of a sample is one object, this is array"),
        ({"0.json": "{"}, "0.json: not valid JSON"),
        ({"0.txt": b"\xff"}, "0.txt: not UTF-8 (byte 0xff)"),
        ({"0.json": '{"a": 1}', "1.json": '{"a": "x"}'}, "a.tar:2: column 'a' has conflicting types: string here"),
    ],
)
def test_wrong_samples_are_refused_by_name(tmp_path: Path, members: Any, message: str) -> None:
    write_tar(tmp_path / "a.tar", members)
    assert message in fails(tmp_path, "webdataset", None)


def test_a_cut_tar_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "a.tar", SAMPLES).read_bytes()
    end = data.rstrip(b"\0")
    for size in range(512, len(end), 512):
        (tmp_path / "a.tar").write_bytes(data[:size])
        assert "cut off" in fails(tmp_path, "webdataset", None), size
    (tmp_path / "a.tar").write_bytes(b"\x89PNG" + data)
    assert "cut off or no tar" in fails(tmp_path, "webdataset", None)
    (tmp_path / "a.tar").write_bytes(b"")
    assert "empty (0 bytes)" in fails(tmp_path, "webdataset", None)


def test_a_tar_that_changes_is_refused(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", SAMPLES)
    (shard,) = shards.find(str(tmp_path), "auto", "images", layout="webdataset")
    assert shard.media is not None and shard.media.content("000.png") == png(1)
    write_tar(file, {**SAMPLES, "000.png": png(3)})
    os.utime(file, ns=(1, 1))  # the clock of a file system is coarse
    with pytest.raises(UserError, match=r"a\.tar: changed since it was"):
        shard.media.content("000.png")
    with pytest.raises(UserError, match="changed since it was"):
        shards.read(shard)


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path, {"a.tar.gz": b"x"})
    assert "a.tar.gz: a tar that is compressed cannot be read in parts; decompress it" in fails(tmp_path, "webdataset")
