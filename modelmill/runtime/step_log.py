"""The log of a step, kept in the store: the same on every runner, and readable without access to the runner."""

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from modelmill.core.errors import one_line
from modelmill.runtime import run_records
from modelmill.runtime.tracking import redact
from modelmill.store import KeyNotFound, Store

log = logging.getLogger("modelmill")

FORMAT = "%(asctime)s %(levelname)s %(message)s"
FLUSH_SECONDS = 10.0
LIMIT_BYTES = 1 << 20
# A step's file, for the processes that it starts, behind the id of the process that has it open already.
_VARIABLE = "MODELMILL_STEP_LOG"
_SECRET_NAMES = ("SECRET", "PASSWORD", "TOKEN", "ACCESS_KEY", "NOTIFY_WEBHOOK", "NOTIFY_SLACK")
# Values of such variables that are no secrets, and shorter ones, are words of many lines.
_NO_SECRETS = frozenset({"true", "false", "none", "null"})
_SHORTEST_SECRET = 4


@contextlib.contextmanager
def kept(store: Store, run_id: str, step: str) -> Iterator[None]:
    """Keep what is logged in the block, here and in processes that `join`, as the step's log of this run.

    The log is written every FLUSH_SECONDS if it has changed, and when the block ends, however it ends. It comes after
    what an earlier attempt of the step has logged, has at most the last LIMIT_BYTES, and holds no secrets. It is best
    effort: a store or a disk that fails is one warning.

    Args:
        store: Store that keeps the log.
        run_id: The run.
        step: The step's name.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = tempfile.TemporaryDirectory(prefix="modelmill-log-", ignore_cleanup_errors=True)
            file = Path(stack.enter_context(folder)) / "log.txt"
            copy = _Copy(store, run_records.step_log_key(run_id, step), file)
            copy.begin()
            stack.enter_context(_logging_to(file))
            stack.enter_context(copy.flushing())
        except OSError as error:
            log.warning("the log of %s is not kept: %s", step, one_line(error))
        yield


def join() -> None:
    """Log into the file of the step that has started this process, if one has."""
    process, _, file = os.environ.get(_VARIABLE, "").partition(":")
    if file and process != str(os.getpid()):
        with contextlib.suppress(OSError):
            logging.getLogger().addHandler(_Handler(Path(file)))
        os.environ[_VARIABLE] = f"{os.getpid()}:{file}"


def without_secrets(text: str) -> str:
    """Return the text without credentials in URIs and without values of variables that have the name of a secret."""
    values = {line for name, value in os.environ.items() if _is_secret(name) for line in (value, *value.splitlines())}
    # The longest first: one may be part of another.
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET and value.lower() not in _NO_SECRETS:
            text = text.replace(value, "***")
    return redact(text)


def write_without_secrets(source: Path, target: Path) -> None:
    """Copy a log of any length, as UTF-8, without its secrets."""
    with source.open("rb") as read, target.open("wb") as write:
        while lines := read.readlines(LIMIT_BYTES):
            write.write(without_secrets(b"".join(lines).decode("utf-8", "replace")).encode())


class _Copy:
    """The log's copy in the store."""

    def __init__(self, store: Store, key: str, file: Path) -> None:
        self._store, self._key, self._file = store, key, file
        self._written = 0
        self._has_failed = False

    def begin(self) -> None:
        """Start the file with what an earlier attempt of the step has logged."""
        earlier = b""
        try:
            earlier = self._store.get(self._key)
        except KeyNotFound:
            pass
        except Exception as error:
            self._warn(error)
        self._file.write_bytes(earlier.rstrip() + b"\n-- started again --\n" if earlier else b"")
        self._written = self._file.stat().st_size

    @contextlib.contextmanager
    def flushing(self) -> Iterator[None]:
        """Write the copy every FLUSH_SECONDS and at the end of the block."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(FLUSH_SECONDS):
                self._flush()

        thread = threading.Thread(target=work, daemon=True, name="step log")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._flush()

    def _flush(self) -> None:
        """Write the file's end to the store if it has grown."""
        try:
            size = self._file.stat().st_size
            if size != self._written:
                self._store.put(self._key, _tail(self._file, size))
                self._written = size
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Warn once; the step goes on."""
        if not self._has_failed:
            self._has_failed = True
            log.warning("%s is not up to date in the store: %s", self._key, without_secrets(one_line(error)))


def _tail(file: Path, size: int) -> bytes:
    """Return the last whole lines of the file's first `size` bytes, after a line that says how much was cut."""
    room = LIMIT_BYTES - 100
    with file.open("rb") as opened:
        opened.seek(max(0, size - room))
        data = opened.read(min(size, room))
    if size > room:
        # Half a line may hold half a secret, which nothing would find.
        data = data.partition(b"\n")[2]
        data = b"-- the first %d bytes of this log are not kept --\n" % (size - len(data)) + data
    return without_secrets(data.decode("utf-8", "replace")).encode()


def _is_secret(name: str) -> bool:
    return any(part in name.upper() for part in _SECRET_NAMES)


@contextlib.contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    handler, before = _Handler(file), os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = f"{os.getpid()}:{file}"
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


class _Handler(logging.FileHandler):
    """A file that several processes append to; a full disk is not told again with each line."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(FORMAT))

    def handleError(self, record: logging.LogRecord) -> None:
        return
