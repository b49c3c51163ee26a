"""`modelmill import`: brings a base model into store and registry, once, as `pretraining.init: models:/NAME/VERSION`.

The store gets the files under their sha256 and a manifest of them. The registry gets a version with the card, the
manifest and tags, and no second copy of the weights.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.components.registration.api import Claim, exclusively
from modelmill.core import digest
from modelmill.core.errors import CorruptError, UserError
from modelmill.core.units import of_bytes
from modelmill.runtime import tracking, weights
from modelmill.runtime.sources import bucket, file_digests, layout
from modelmill.runtime.tracking import imports
from modelmill.runtime.tracking.versions import IMPORTED, KEY, MODEL, VERIFIED
from modelmill.store import Store, blobs, check_conditional_writes, manifest
from modelmill.store.manifest import Manifest

_WHERE = "import"
MANIFEST = "manifest.json"
Progress = Callable[[int, int, str], None]


class Imported(NamedTuple):
    """A base model in store and registry.

    Attributes:
        model: Name of the registered model.
        version: Number of its version.
        is_new: False where the same files were imported before.
        manifest: Its manifest.
    """

    model: str
    version: str
    is_new: bool
    manifest: Manifest

    def to_json(self) -> dict[str, Any]:
        """Return what a program wants to know."""
        files = self.manifest.entries
        return {
            "model": self.model,
            "version": self.version,
            "init": f"models:/{self.model}/{self.version}",
            "is_new": self.is_new,
            "manifest": self.manifest.digest,
            "files": len(files),
            "bytes": sum(entry.bytes for entry in files),
            **self.manifest.info,
        }


def bring(store: Store, source: str, name: str, progress: Progress) -> Imported:
    """Bring a base model into store and registry; files that are there already are not written again.

    Args:
        store: The store.
        source: A folder, `s3://BUCKET/PREFIX` or `hf://ORG/NAME@REVISION`.
        name: Name of the registered model.
        progress: Is told how many of the bytes are in the store, and what is next.

    Raises:
        UserError: The name or the source is wrong, or the model is not whole.
        ModelmillError: The registry does not answer.
    """
    _check_name(name)
    if source.startswith("models:/"):
        raise UserError(f"{source}: it is registered already; write pretraining.init: {source}")
    tracking.tracking_uri(store)
    source = source if weights.is_portable(source) else str(Path(source).expanduser().absolute())
    folder = weights.locate(_WHERE, source, store)
    weights.warn_of_licence(f"{_WHERE}: {source}", folder)
    check_conditional_writes(store)
    made = _store(store, source, folder, progress)
    key = digest.of_json({"imported": made.info["digest"]})

    def register(claim: Claim) -> Imported:
        return tracking.patiently(lambda: _register(store, source, name, made, folder, claim, progress), waiting)

    def waiting(why: str) -> None:
        progress(0, 0, why)

    done = exclusively(store, digest.of_json([key, name]), register, lambda holder: waiting(f"waiting for {holder}"))
    if source.startswith(bucket.SCHEME):  # from now on it is read from the store
        bucket.forget(source)
    return done


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from modelmill.recipe.sections import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UserError(
            f"--as {name[:100]!r}: a model's name is lower case letters, digits, - and _, such as smollm2-135m"
        ) from error


def _store(store: Store, source: str, folder: Path, progress: Progress) -> Manifest:
    """Put the model's files into the store, and the manifest that names them."""
    files = [*_describing(folder), *weights.weight_files(folder)]
    whole, done, entries = sum(file.stat().st_size for file in files), 0, []
    for file in files:
        progress(done, whole, file.name)
        entries.append(manifest.add_file(store, file, f"model/{file.name}", sha256=file_digests.of(file)))
        done += file.stat().st_size
    progress(done, whole, "registering")
    tensors = weights.tensors(folder).values()
    info = {
        **weights.origin_of(_WHERE, source, store),
        "stage": _WHERE,
        "dtype": weights.dtype_of(folder),
        "parameters": sum(math.prod(tensor.shape) for tensor in tensors),
        "architecture": weights.read_config(folder).get("model_type"),
    }
    made = Manifest(kind="model", entries=entries, info={name: value for name, value in info.items() if value})
    manifest.save(store, made)
    return made


def _describing(folder: Path) -> list[Path]:
    loaded = {file.name for file in weights.weight_files(folder)}
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and layout.is_describing(file.name))
    index = [weights.INDEX] if weights.WEIGHTS not in loaded else []
    return [folder / name for name in (*names, *index)]


def _register(
    store: Store, source: str, name: str, made: Manifest, folder: Path, claim: Claim, progress: Progress
) -> Imported:
    """Return the version with these files, registered now or before."""
    with tracking.client(store) as client, tempfile.TemporaryDirectory(prefix="modelmill-import-") as scratch:
        key = digest.of_json({"imported": made.info["digest"]})
        if earlier := imports.find(client, name, key):
            return Imported(name, earlier, False, _of_version(store, name, earlier) or made)
        _read_back(store, made, progress)
        (Path(scratch) / MANIFEST).write_bytes(made.to_json())
        (Path(scratch) / layout.CARD).write_text(_card(name, source, made, folder), "utf-8")
        tags = {
            KEY: key,
            MODEL: manifest.save(store, made),
            IMPORTED: source,
            VERIFIED: "true",
            **{f"modelmill.{tag}": made.info[tag] for tag in ("digest", "licence", "revision") if tag in made.info},
        }
        claim.check()
        version = imports.create(client, store, name, Path(scratch), tags, _description(name, source, made))
    return Imported(name, version, True, made)


def _read_back(store: Store, made: Manifest, progress: Progress) -> None:
    """Read every file of the model from the store, as those who start from it will.

    Raises:
        CorruptError: The store gives back other bytes than it was given.
    """
    done, whole = 0, sum(entry.bytes for entry in made.entries)
    for entry in made.entries:
        progress(done, whole, f"reading {entry.path} back")
        with store.open(blobs.key_of(entry.sha256)) as stream:
            if digest.of_stream(stream) != entry.sha256:
                raise CorruptError(
                    f"{store.uri}: {entry.path} (blob {entry.sha256}) has other bytes than were sent; delete that "
                    "blob and give the same command again"
                )
        done += entry.bytes


def _of_version(store: Store, name: str, version: str) -> Manifest | None:
    with contextlib.suppress(Exception):
        return manifest.load(store, tracking.tags_of(store, f"models:/{name}/{version}")[MODEL])
    return None


def _description(name: str, source: str, made: Manifest) -> str:
    """Return the facts in Markdown."""
    info, size = made.info, sum(entry.bytes for entry in made.entries)
    facts = {
        "Source": f"`{source}`" + (f", commit `{info['revision']}`" if "revision" in info else ""),
        "Licence": info.get("licence", "not named: see that you may use it"),
        "Architecture": info.get("architecture"),
        "Size": f"{info['parameters']:,} parameters, {info['dtype']}, {of_bytes(size)}",
        "Digest": f"`{info['digest']}`",
        "Use": f"`pretraining.init: models:/{name}/VERSION`; the files are in the store, by their sha256",
    }
    return (
        f"# {name}\n\nAn imported base model.\n\n" + "\n".join(f"- **{k}:** {v}" for k, v in facts.items() if v) + "\n"
    )


def _card(name: str, source: str, made: Manifest, folder: Path) -> str:
    """Return the model's own card, else the facts."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / layout.CARD).read_text("utf-8")
    return _description(name, source, made)
