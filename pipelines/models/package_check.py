"""Whether a registered version, as MLflow gives it back, is what was registered, and safe to load."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modelmill.core import digest
from modelmill.core.errors import CorruptError, UserError
from modelmill.runtime import model_form
from modelmill.runtime.tracking import Version
from modelmill.runtime.tracking.versions import PACKAGE
from modelmill.runtime.weights import PICKLES
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

MODEL, SCRIPT, CODE = "artifacts/model", "serve.py", "code"
_OURS = (f"{MODEL}/", "artifacts/adapter/", f"{CODE}/")
_LOADER = "mlflow.pyfunc.loaders.code_model"
# The first bytes of a pickle: its protocol.
_PICKLED = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class Column(NamedTuple):
    """A column that the model reads.

    Attributes:
        name: Its name.
        type: MLflow's name of its type.
        is_required: Whether each row must have it.
    """

    name: str
    type: str
    is_required: bool = True


def require_verified(version: Version) -> None:
    """Refuse a version that registration has not verified.

    Raises:
        UserError: Registration has not read the version back, or has read other bytes.
    """
    if not version.is_verified:
        raise UserError(
            f"{version}: not verified (its tag modelmill.verified is not true), so it is not used; "
            "run the recipe again to complete its registration, or name another version"
        )


def check(store: Store, version: Version, folder: Path) -> None:
    """Compare a downloaded version with the manifest that its tag names, before any of it is loaded.

    Args:
        store: The store that it was registered from.
        version: The version.
        folder: Its files, as MLflow gave them.

    Raises:
        UserError: It holds a pickle, or was registered from another store.
        CorruptError: A file is missing, has other bytes, or was not registered.
    """
    uri = f"models:/{version.name}/{version.version}"
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    flavor = _flavor(uri, files)
    _refuse_pickles(uri, files, flavor)
    registered = _registered(store, version)
    expected = {f"artifacts/{entry.path}": entry.sha256 for entry in model_form.registered(registered)}
    own = _own(version)
    expected |= own
    for name, sha256 in expected.items():
        if name not in files:
            raise CorruptError(f"{uri}: {name} is missing; {_advice(version)}")
        if digest.of_file(files[name]) != sha256:
            raise CorruptError(f"{uri}: {name} has other bytes than were registered; {_advice(version)}")
    if extra := sorted(name for name in files if name.startswith(_OURS) and name not in expected):
        raise CorruptError(f"{uri}: {extra[0]} was not registered; {_advice(version)}")
    known = (flavor.get("loader_module"), Path(str(flavor.get("model_code_path"))).name, flavor.get("code"))
    places = {name: one.get("path") for name, one in (flavor.get("artifacts") or {}).items()}
    code = CODE if any(name.startswith(f"{CODE}/") for name in own) else None
    if known != (_LOADER, SCRIPT, code) or places.get("model") != MODEL:
        raise CorruptError(f"{uri}: MLmodel loads something else than was registered; {_advice(version)}")


def remove_bytecode(folder: Path) -> None:
    """Remove what Python has compiled in a downloaded version: MLflow's server runs one of a folder store in place.

    Bytecode could say something else than the code beside it, which is compared.
    """
    for found in sorted(folder.rglob("__pycache__")):
        shutil.rmtree(found)


def columns(folder: Path) -> list[Column]:
    """Return the columns that the model reads of each row."""
    return [Column(one["name"], one["type"], one.get("required", True)) for one in _signature(folder, "inputs")]


def parameters(folder: Path) -> list[str]:
    """Return the names of the parameters that the model takes beside the rows."""
    return [one["name"] for one in _signature(folder, "params")]


def _signature(folder: Path, part: str) -> list[dict[str, Any]]:
    described = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))
    parsed: list[dict[str, Any]] = json.loads(described["signature"].get(part) or "[]")
    return parsed


def _flavor(uri: str, files: dict[str, Path]) -> dict[str, Any]:
    """Return the part of MLmodel by which MLflow would load it."""
    try:
        flavor = yaml.safe_load(files["MLmodel"].read_text("utf-8"))["flavors"]["python_function"]
    except (LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise CorruptError(f"{uri}: MLmodel is missing or damaged; register the model again") from error
    return flavor if isinstance(flavor, dict) else {}


def _refuse_pickles(uri: str, files: dict[str, Path], flavor: dict[str, Any]) -> None:
    pickled = [name for name, file in files.items() if file.suffix in PICKLES or _is_pickled(file)]
    if "python_model" in flavor:
        pickled.append(str(flavor["python_model"]))
    if pickled:
        raise UserError(f"{uri}: {pickled[0]} is a pickle, which can run code when it is loaded; it is not used")


def _is_pickled(file: Path) -> bool:
    if file.suffix == ".safetensors":  # begins with a length, which may look like one
        return False
    with open(file, "rb") as opened:
        return opened.read(2) in _PICKLED


def _registered(store: Store, version: Version) -> Manifest:
    sha256 = version.tags.get("modelmill.model", "")
    try:
        return manifest.load(store, sha256)
    except CorruptError as error:
        raise UserError(
            f"{version}: the manifest of its files, {sha256[:12] or 'none'}, is not in {store.uri}; "
            "name the store that it was registered from with --store"
        ) from error


def _own(version: Version) -> dict[str, str]:
    """Return the sha256 of the script and of what it imports, by path, as its tag has them.

    A version that is older than this tag has a script alone, and no modules beside it.
    """
    try:
        digests = json.loads(version.tags.get(PACKAGE, "{}"))
        return {str(name): str(sha256) for name, sha256 in digests.items()}
    except (ValueError, AttributeError) as error:
        raise CorruptError(f"{version}: its tag {PACKAGE} is damaged; {_advice(version)}") from error


def _advice(version: Version) -> str:
    return f"delete version {version.version} in MLflow and run its recipe again, or use another version"
