"""WebDataset's layout: tars of samples, whose members are read where they lie."""

import os
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile, open_file, read_range
from modelmill.data.layouts.place import Place, nothing, tagged
from modelmill.data.media.unusable import Unusable
from modelmill.data.media_files import Media, require_size, tag_of
from modelmill.data.reading import tar
from modelmill.data.reading.tar import Member
from modelmill.data.shard import Shard

# Bytes of an object in S3 that are asked for at once.
_BLOCK = 8 << 20
# Held while a tar's members or a block are looked for: files are read in several threads.
_LOOKING = threading.Lock()


@dataclass(frozen=True)
class TarMedia(Media):
    """The members of a tar, which are found when the first is asked for.

    Attributes:
        uri: Path of the tar, or `s3://bucket/key`.
        index: Members by their names; empty until one is asked for.
        status: The status of the tar that they are of; empty until then.
    """

    uri: str = ""
    index: dict[str, Member] = field(default_factory=dict, compare=False, repr=False)
    status: list[str] = field(default_factory=list, compare=False, repr=False)

    def content(self, name: str) -> bytes:
        """Return the bytes of a member.

        Args:
            name: The member's path in the tar.

        Raises:
            Unusable: The member is not there, empty or too large.
            UserError: The tar has changed since it was found, is broken, or cannot be read.
        """
        with _LOOKING:
            if not self.status:
                self._look()
        member = self.index.get(name)
        if member is None:
            raise Unusable("not in the tar")
        require_size(member.bytes)
        data = self._remote(member) if self.uri.startswith("s3://") else self._local(member)
        if len(data) != member.bytes:
            raise UserError(f"{self.uri}: changed since it was found; run again")
        return data

    def _local(self, member: Member) -> bytes:
        with open_file(self.uri, self.tag, self.size) as file:
            file.seek(member.start)
            data = file.read(member.bytes)
            return data if _status(self.uri, file) == self.status[0] else b""

    def _remote(self, member: Member) -> bytes:
        """Return a member's bytes from blocks of the object: members are mostly small, and asked for in their order."""
        first, last = member.start // _BLOCK, (member.start + member.bytes - 1) // _BLOCK
        with _LOOKING:
            data = b"".join(_block(self.uri, self.tag, self.size, number) for number in range(first, last + 1))
        start = member.start - first * _BLOCK
        return data[start : start + member.bytes]

    def _look(self) -> None:
        with open_file(self.uri, self.tag, self.size) as file:
            self.index.update({one.name: one for one in tar.members(file, self.uri)})
            self.status.append(_status(self.uri, file))


@lru_cache(4)
def _block(uri: str, tag: str, size: int, number: int) -> bytes:
    return read_range(uri, tag, number * _BLOCK, min(_BLOCK, size - number * _BLOCK))


def find(place: Place) -> list[Shard]:
    """Return a shard for each tar.

    Raises:
        UserError: There is none, or one is compressed.
    """
    files = data_files(place)
    if not files:
        raise nothing(place, "no tars there (.tar)")
    for file in files:
        if not file.path.lower().endswith(".tar"):
            raise UserError(f"data.path: {file.uri}: a tar that is compressed cannot be read in parts; decompress it")
    return [_with_members(shard, place) for shard in tagged(files, _shard)]


def data_files(place: Place) -> list[DataFile]:
    """Return the tars at a place."""
    return place.suffixed(".tar") + place.suffixed(".tgz")


def _shard(file: DataFile) -> Shard:
    return Shard(*file, "tar", None, layout="webdataset")


def _with_members(shard: Shard, place: Place) -> Shard:
    if place.kind is None:
        return shard
    return shard._replace(media=TarMedia(place.kind, place.corrupt, shard.tag, shard.bytes, {}, shard.uri))


def _status(uri: str, file: BinaryIO) -> str:
    return "remote" if uri.startswith("s3://") else tag_of(os.fstat(file.fileno()))
