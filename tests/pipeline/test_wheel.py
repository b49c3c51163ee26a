"""The wheel: one top package, so that it lives beside a user's own `components` and `pipelines`."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import cli
from tests.recipes import table_recipe, write_table

RAISES = "raise ImportError('a package of the user, not of Modelmill')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("modelmill", "components", "pipelines"):
        shutil.copytree(cli.ROOT / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(cli.ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_takes_one_name(installed: Path) -> None:
    assert [entry.name for entry in installed.iterdir() if not entry.name.endswith(".dist-info")] == ["modelmill"]
    assert not [file for file in installed.rglob("*") if file.is_symlink()]
    for data in ("components/reporting/report.html.j2", "components/data_validation/templates/data_docs.j2"):
        assert (installed / "modelmill" / data).is_file()


@pytest.mark.parametrize("runner", ["local", "subprocess"])
def test_it_works_where_the_user_has_packages_of_those_names(installed: Path, tmp_path: Path, runner: str) -> None:
    for name in ("components", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(RAISES)
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"))
    arguments = ["run", recipe, "--store", f"file://{tmp_path / 'store'}", "--runner", runner, "--json"]
    done = cli.modelmill(*arguments, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-c", "import modelmill; print(modelmill.__file__)"]
    environment = cli.environment(PYTHONPATH=str(installed))
    where = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert where.stdout.strip() == str(installed / "modelmill" / "__init__.py")
