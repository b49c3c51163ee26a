"""S3 objects as streams that survive a broken connection."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tenacity import RetryCallState

from modelmill.core import digest
from modelmill.store.s3_client import read_again


class Body(io.RawIOBase):
    """An object read in order; where the connection breaks, the rest of the same version is asked for.

    Attributes:
        tag: The object's ETag.
    """

    def __init__(
        self, get_object: Callable[..., dict[str, Any]], explained: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Ask for the object.

        Args:
            get_object: Request for the object; takes the further parameters of boto3's `get_object`.
            explained: Context that explains what boto3 raises.
        """
        self._get_object, self._explained = get_object, explained
        self._position = 0
        response = self._request()
        self._stream = response["Body"]
        self._size = int(response["ContentLength"])
        self.tag = str(response["ETag"])

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes into the buffer and return how many; 0 at the end."""
        if self._position == self._size:
            return 0
        with self._explained():
            retrying = read_again.copy(before_sleep=self._reopen)
            chunk = retrying(lambda: bytes(self._stream.read(len(buffer))))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def readall(self) -> bytes:
        """Return what is left of the object."""
        return b"".join(iter(lambda: self.read(digest.CHUNK) or b"", b""))

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._stream.close()
        super().close()

    def _reopen(self, _: RetryCallState) -> None:
        self._stream.close()
        self._stream = self._request(Range=f"bytes={self._position}-", IfMatch=self.tag)["Body"]

    def _request(self, **rest: str) -> dict[str, Any]:
        with self._explained():
            return self._get_object(**rest)
