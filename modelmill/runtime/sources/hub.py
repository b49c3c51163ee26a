"""Models of a hub: `hf://ORG/NAME@REVISION`, fetched with huggingface_hub into its cache, each file checked.

Variables are those of huggingface_hub: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
"""

import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelmill.core.errors import UserError, one_line
from modelmill.runtime.sources import fetching, file_digests, layout
from modelmill.runtime.tracking.connection import redact

SCHEME = "hf://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Whose errors say that the hub does not answer.
_HTTP = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"})


class Place(NamedTuple):
    """A model of a hub at a revision, which may move."""

    model: str
    revision: str


class Listing(NamedTuple):
    """The files of a commit.

    Attributes:
        commit: The commit that a revision stands for now.
        files: Digest of each file, by its name: a sha256, or git's of a small file; None where the hub names none.
    """

    commit: str
    files: dict[str, str | None]


def parse(where: str, source: str) -> Place:
    """Return the model and the revision of `hf://ORG/NAME@REVISION`; `main` where none is named.

    Args:
        where: Key and source, for messages.
        source: The source.

    Raises:
        UserError: It is not written so.
    """
    model, at, revision = source.removeprefix(SCHEME).partition("@")
    is_good = _NAME.fullmatch(model) and ".." not in source
    if not is_good or (at and not _REVISION.fullmatch(revision)):
        raise UserError(f"{where}: a model of a hub is hf://ORG/NAME@REVISION, its revision a branch, tag or commit")
    return Place(model, revision or "main")


@functools.cache
def fetch(where: str, source: str, tokenizer_only: bool) -> Path:
    """Return the folder in huggingface_hub's cache with a model's files, which is named after the commit.

    Args:
        where: Key and source, for messages.
        source: `hf://ORG/NAME@REVISION`.
        tokenizer_only: Leave out the weights.

    Raises:
        UserError: There is no such model, revision or file, the hub does not answer or wants a token, or a file came
            with other bytes than the hub names.
    """
    place = parse(where, source)
    with _explained(where, place):
        if _is_offline():
            return _kept(where, place)
        listing = _listing(place, _endpoint())

        def one(name: str) -> Path:
            return _download(where, place, listing, name)

        fetching.fetch(where, listing.files.keys(), one, tokenizer_only)
        _note(place, listing.commit)
        return _snapshots(place) / listing.commit


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder in huggingface_hub's cache is of, None for another folder."""
    is_kept = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
    return folder.name if is_kept else None


@functools.cache
def _listing(place: Place, endpoint: str | None) -> Listing:
    """Ask the hub once for what a revision is now, so that a process works with one commit."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint)
    info = api.model_info(place.model, revision=place.revision, files_metadata=True, timeout=30)
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise ValueError("it names no commit")
    if info.siblings is None:
        return Listing(info.sha, dict.fromkeys(api.list_repo_files(place.model, revision=info.sha)))
    return Listing(info.sha, {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings})


def _download(where: str, place: Place, listing: Listing, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    commit, cache = listing.commit, str(_cache())
    try:
        file = Path(hf_hub_download(place.model, name, revision=commit, cache_dir=cache, endpoint=_endpoint()))
    except OSError as error:
        if sizes := re.search(r"Consistency check failed: .*of size (\d+) but has size (\d+)", str(error)):
            said = f"{name} came with {sizes[2]} of {sizes[1]} bytes"
            raise UserError(f"{where}: {said}; what came whole is kept: give the same command again") from error
        raise
    _verify(where, file, listing.files[name])
    return file


def _verify(where: str, file: Path, named: str | None) -> None:
    """Compare a file with the digest that the hub names; one that differs is removed, to be fetched again.

    A large file's is its sha256, which is also its name in the cache; a small one's is git's.
    """
    blob = file.resolve().name
    wanted = blob if _SHA256.fullmatch(blob) else named
    if wanted is None or not (_SHA256.fullmatch(wanted) or _COMMIT.fullmatch(wanted)):
        return
    if (file_digests.of(file) if _SHA256.fullmatch(wanted) else _of_git(file)) == wanted:
        return
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    raise UserError(
        f"{where}: {file.name} came with other bytes than the hub names ({wanted[:12]}); it is removed from the cache: "
        "give the same command again"
    )


def _of_git(file: Path) -> str:
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _kept(where: str, place: Place) -> Path:
    """Return the folder that the cache has; nothing is asked of the hub."""
    commit = place.revision
    with contextlib.suppress(OSError):
        commit = (_repository(place) / "refs" / place.revision).read_text("utf-8").strip()
    folder = _snapshots(place) / commit
    if not _COMMIT.fullmatch(commit) or not folder.is_dir():
        raise UserError(
            f"{where}: HF_HUB_OFFLINE is set, and {_cache()} does not have it; fetch it once without that variable"
        )
    for file in sorted(folder.iterdir()):
        if layout.is_describing(file.name) or file.name.endswith(".safetensors"):
            _verify(where, file, None)
    return folder


def _note(place: Place, commit: str) -> None:
    """Note what a revision was last, as huggingface_hub does, for those who work offline."""
    if place.revision != commit:
        file = _repository(place) / "refs" / place.revision
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(commit, "utf-8")


def _repository(place: Place) -> Path:
    return _cache() / f"models--{place.model.replace('/', '--')}"


def _snapshots(place: Place) -> Path:
    return _repository(place) / "snapshots"


def _cache() -> Path:
    from huggingface_hub import constants

    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(constants.HF_HUB_CACHE)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@contextlib.contextmanager
def _explained(where: str, place: Place) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line that says what to do."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    hub = redact(_endpoint() or "https://huggingface.co")
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{where}: {_reason(error, hub, place)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _HTTP:
            raise
        raise UserError(f"{where}: {_silent(error, hub)}") from error


def _reason(error: Exception, hub: str, place: Place) -> str:
    from huggingface_hub import errors

    model, has_token = place.model, "HF_TOKEN" in os.environ
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the cache does not have it either, which is no news
    if isinstance(error, errors.GatedRepoError):
        token = "the account of HF_TOKEN has not" if has_token else "there is no HF_TOKEN"
        return f"{model} is gated at {hub}, and {token}; accept its conditions on its page, then set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model} has no revision {place.revision} at {hub}; name a branch, a tag or a commit of it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{hub} has no model {model}, or it is private or gated; look at the name, or set HF_TOKEN"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{hub} lists a file that it does not have ({one_line(error)[:120]}); give the same command again"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"{hub} refuses {model} ({status}); set HF_TOKEN to one that may read it"
        return f"{hub} answers {status}; try again later, or set HF_HUB_OFFLINE=1 to use what the cache has"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{_cache()} cannot be written ({error.strerror}); set HF_HOME to a folder with room"
    return _silent(error, hub)


def _silent(error: Exception, hub: str) -> str:
    cause: BaseException = error.__cause__ or error
    return (
        f"{hub} does not answer as a hub does ({one_line(cause)[:160]}); is HF_ENDPOINT right? "
        "HF_HUB_OFFLINE=1 uses what the cache has"
    )
