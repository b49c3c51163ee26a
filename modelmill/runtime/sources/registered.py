"""Models in the registry: `models:/NAME/VERSION`, read from the run's store file by file, each against its digest.

A version whose manifest is not in the store, which is one of somebody else's, comes from MLflow.
"""

import functools
import tempfile
from pathlib import Path

from modelmill.core.errors import CorruptError, UserError
from modelmill.runtime import model_form, tracking
from modelmill.runtime.sources import cached, file_digests, layout
from modelmill.runtime.sources.layout import ADAPTER, CONFIG, INDEX, TOKENIZER, WEIGHTS
from modelmill.runtime.tracking.versions import IMPORTED, MODEL
from modelmill.store import KeyNotFound, Store, blobs, manifest
from modelmill.store.manifest import Entry, Manifest

SCHEME = "models:/"
_FOLDER = "model"


@functools.cache
def fetch(where: str, uri: str, store: Store, tokenizer_only: bool) -> Path:
    """Return a folder with the files of a registered version, which does not change: a process fetches it once.

    Args:
        where: Key and source, for messages.
        uri: `models:/NAME/VERSION`.
        store: The run's store.
        tokenizer_only: Leave out the weights.

    Raises:
        UserError: There is no such version, it is an adapter, or it was imported into another store.
        CorruptError: The store has other bytes of a file than were registered.
    """
    tags = tracking.tags_of(store, uri)
    kept = _manifest(store, tags.get(MODEL))
    if kept is not None and model_form.is_adapter(kept) and not tokenizer_only:
        raise _is_adapter(where)
    if (
        kept is not None
        and manifest.is_whole(store, kept)
        and any(e.path == f"{_FOLDER}/{CONFIG}" for e in kept.entries)
    ):
        return _place(store, kept, tokenizer_only)
    if IMPORTED in tags:
        state = "is not whole in" if kept else "is not in"
        raise UserError(
            f"{where}: it {state} {store.uri}; give the store that it was imported into, or import it again"
        )
    return _download(where, uri, store, tokenizer_only)


def _manifest(store: Store, sha256: str | None) -> Manifest | None:
    if sha256 is None:
        return None
    try:
        return manifest.load(store, sha256)
    except CorruptError:
        return None


def _place(store: Store, kept: Manifest, tokenizer_only: bool) -> Path:
    """Return a folder with a manifest's files: links to a folder store's own, else checked copies in the cache."""
    entries = [e for e in kept.under(_FOLDER) if not tokenizer_only or layout.is_describing(Path(e.path).name)]
    if store.local_path(blobs.key_of(kept.digest)) is not None:
        folder = Path(tempfile.mkdtemp(dir=cached.temporary()))
        for entry in entries:
            _link(store, entry, _in(folder, entry))
        return folder
    folder = cached.folder("models") / kept.digest
    with cached.alone(folder):
        for entry in entries:
            _bring(store, entry, _in(folder, entry))
    return folder


def _in(folder: Path, entry: Entry) -> Path:
    file = folder / entry.path.removeprefix(f"{_FOLDER}/")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _link(store: Store, entry: Entry, file: Path) -> None:
    blob = store.local_path(blobs.key_of(entry.sha256))
    assert blob is not None
    file.symlink_to(blob.absolute())
    _check(store, entry, file)


def _bring(store: Store, entry: Entry, file: Path) -> None:
    """Fetch one file, unless it is there already with its digest."""
    if file.is_file() and file_digests.of(file) == entry.sha256:
        return
    try:
        store.download(blobs.key_of(entry.sha256), file)
    except KeyNotFound as error:
        raise CorruptError(f"{store.uri}: blob {entry.sha256} is missing") from error
    _check(store, entry, file)


def _check(store: Store, entry: Entry, file: Path) -> None:
    if file_digests.of(file) != entry.sha256:
        file.unlink()
        raise CorruptError(
            f"{store.uri}: {file.name} (blob {entry.sha256}) does not have the bytes it is named after; restore it, or "
            "delete that blob and import or train the model again"
        )


def _download(where: str, uri: str, store: Store, tokenizer_only: bool) -> Path:
    downloaded = tracking.download_version(store, uri, Path(tempfile.mkdtemp(dir=cached.temporary())))
    wanted = {WEIGHTS, INDEX, TOKENIZER[0]}
    folders = sorted({file.parent for file in downloaded.rglob("*") if file.name in wanted})
    if any(downloaded.rglob(ADAPTER)) and not tokenizer_only:
        raise _is_adapter(where)
    if not folders:
        raise UserError(f"{where}: the version holds no {WEIGHTS}")
    return folders[0]


def _is_adapter(where: str) -> UserError:
    return UserError(
        f"{where}: it was registered as an adapter, without the weights of its base; register that model with "
        "registration.form: merged, and start from the version that this makes"
    )
