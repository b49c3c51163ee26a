"""What of a downloaded version is compared with what was registered before MLflow runs any of it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.pipelines.models import package_check
from modelmill.runtime.tracking import Version
from modelmill.runtime.tracking.versions import MODEL, PACKAGE
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Manifest

MODULE = "code/served_0123456789ab/modelmill/network.py"


class Case(NamedTuple):
    """A version as it was registered, and its files as MLflow gives them."""

    store: Store
    folder: Path
    tags: dict[str, str]

    def check(self) -> None:
        package_check.check(self.store, Version("m", "3", [], self.tags, 0.0), self.folder)

    def described(self, **changes: Any) -> None:
        """Let MLmodel say something else of how the model is loaded."""
        file = self.folder / "MLmodel"
        content = yaml.safe_load(file.read_text())
        content["flavors"]["python_function"] |= changes
        file.write_text(yaml.safe_dump(content))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    store, folder = open_store(f"file://{tmp_path}/store"), tmp_path / "package"
    own = {"serve.py": b"import network\n", MODULE: b"LAYERS = 2\n", "artifacts/prompting.json": b"{}"}
    for name, data in {**own, "artifacts/model/config.json": b"{}"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    flavor = {
        "loader_module": "mlflow.pyfunc.loaders.code_model",
        "model_code_path": "serve.py",
        "code": "code",
        "artifacts": {"model": {"path": "artifacts/model"}},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    entries = [manifest.add_bytes(store, b"{}", "model/config.json")]
    model = Manifest(kind="model", entries=entries, info={"task": "tabular_classification"})
    package = json.dumps({name: digest.of_bytes(data) for name, data in own.items()})
    return Case(store, folder, {MODEL: manifest.save(store, model), PACKAGE: package})


def old(case: Case) -> Case:
    """As versions were before their code was recorded: a script alone."""
    del case.tags[PACKAGE]
    (case.folder / MODULE).unlink()
    case.described(code=None)
    return case


def test_what_was_registered_passes(case: Case) -> None:
    case.check()


@pytest.mark.parametrize("name", ["serve.py", MODULE, "artifacts/prompting.json", "artifacts/model/config.json"])
def test_every_file_that_was_registered_is_compared(case: Case, name: str) -> None:
    before = (case.folder / name).read_bytes()
    (case.folder / name).write_bytes(before + b"\n")
    with pytest.raises(CorruptError, match=f"models:/m/3: {name} has other bytes than were registered"):
        case.check()
    (case.folder / name).unlink()
    with pytest.raises(CorruptError, match=f"models:/m/3: {name} is missing"):
        case.check()


@pytest.mark.parametrize("name", ["code/numpy.py", "code/served_0123456789ab/__init__.py", "artifacts/model/more.json"])
def test_a_file_that_was_not_registered_is_refused_where_it_could_be_loaded(case: Case, name: str) -> None:
    (case.folder / name).write_bytes(b"")
    with pytest.raises(CorruptError, match=f"{name} was not registered"):
        case.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"code": None},
        {"code": "artifacts"},
        {"loader_module": "evil"},
        {"model_code_path": "evil.py"},
        {"artifacts": {"model": {"path": "code"}}},
    ],
)
def test_another_way_of_loading_is_refused(case: Case, changes: dict[str, Any]) -> None:
    case.described(**changes)
    with pytest.raises(CorruptError, match="MLmodel loads something else than was registered"):
        case.check()


def test_a_version_from_before_its_code_was_recorded_is_read(case: Case) -> None:
    old(case).check()


def test_such_a_version_brings_no_modules(case: Case) -> None:
    old(case)
    (case.folder / MODULE).write_bytes(b"")
    with pytest.raises(CorruptError, match=r"network\.py was not registered"):
        case.check()
    (case.folder / MODULE).unlink()
    case.described(code="code")
    with pytest.raises(CorruptError, match="MLmodel loads something else"):
        case.check()


@pytest.mark.parametrize("tag", ["{", "[]", "3"])
def test_a_damaged_tag_is_named(case: Case, tag: str) -> None:
    case.tags[PACKAGE] = tag
    with pytest.raises(CorruptError, match=r"its tag modelmill\.package is damaged"):
        case.check()
