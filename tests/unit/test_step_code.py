"""Which steps a source file is part of: a change in it changes their keys, and no others."""

from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.recipe import step_code, step_specs
from modelmill.recipe.step_specs import STEPS

ROOT = Path(__file__).parents[2]
TRAINING = {"pretraining", "fine_tuning"}
MODEL = {*TRAINING, "evaluation"}


def steps_with(file: Path, task: str = "language_modeling") -> set[str]:
    """The steps whose key hashes a file."""
    return {
        step
        for step, spec in STEPS.items()
        if file.resolve() in {f.resolve() for f in step_code.source_files(step, task, spec.parts).values()}
    }


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("modelmill/core/errors.py", set()),
        ("modelmill/runtime/step_log.py", set()),
        ("modelmill/runtime/tracking/runs.py", set()),
        ("modelmill/store/s3.py", set()),
        ("modelmill/training/launch/processes.py", set()),
        ("modelmill/demo/espeak.py", set()),
        ("modelmill/tasks/language_modeling/demo.py", set()),
        ("modelmill/core/digest.py", set(STEPS)),
        ("modelmill/training/loop/engine.py", TRAINING),
        ("modelmill/training/loop/muon.py", TRAINING),
        ("modelmill/models/cross_entropy.py", MODEL),
        ("modelmill/tasks/language_modeling/task.py", MODEL),
        ("modelmill/tasks/language_modeling/evaluate.py", {"evaluation"}),
        ("modelmill/tasks/language_modeling/preprocess.py", {"preprocessing"}),
        ("modelmill/tasks/language_modeling/serve.py", {"registration"}),
        ("modelmill/tasks/recommendation/task.py", set()),
        ("modelmill/corpus/text/hygiene/rules.py", {"preprocessing"}),
        ("modelmill/data/reading/parquet.py", {"data_validation", "preprocessing"}),
        ("components/data_validation/gx_judge.py", {"data_validation"}),
        ("components/data_validation/templates/data_docs.j2", {"data_validation"}),
        ("components/fine_tuning/lora.py", {"fine_tuning"}),
        ("components/registration/package.py", {"registration"}),
        ("components/reporting/render.py", set()),
        ("pipelines/dag.py", set()),
    ],
)
def test_a_file_is_part_of_the_steps_whose_result_it_can_change(file: str, steps: set[str]) -> None:
    assert (ROOT / file).is_file()
    assert steps_with(ROOT / file) == steps


def test_neutral_modules_are_there() -> None:
    for name in step_code.NEUTRAL:
        place = ROOT.joinpath(*name.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), f"{name} was renamed"


def test_a_change_of_one_byte_changes_the_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = STEPS["pretraining"]
    files = step_code.source_files("pretraining", "language_modeling", spec.parts)
    before = step_code.source_digest.__wrapped__("pretraining", "language_modeling", spec.parts)
    changed = tmp_path / "engine.py"
    changed.write_bytes(files["modelmill.training.loop.engine"].read_bytes() + b"# a comment\n")
    swapped = files | {"modelmill.training.loop.engine": changed}
    monkeypatch.setattr(step_code, "source_files", lambda *_: swapped)
    assert step_code.source_digest.__wrapped__("pretraining", "language_modeling", spec.parts) != before


def test_imports_are_read_in_every_form(tmp_path: Path) -> None:
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("a", "b", "c", "d", "e", "f"):
        (package / f"{name}.py").touch()
    (package / "main.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from . import a\n"
        "from .b import anything\n"
        "import mypackage.c as other\n"
        "from mypackage import (  # a comment\n    d,\n)\n"
        "if TYPE_CHECKING:\n    from mypackage import f\n\n"
        "def later():\n    from mypackage.e import something\n"
    )
    names = set(step_code._names(step_code._TYPES_ONLY.sub("", (package / "main.py").read_text()), "mypackage"))
    assert {f"mypackage.{name}" for name in "abcde"} <= names
    assert "mypackage.f" not in names


def test_a_stage_that_is_left_out_has_the_code_of_leaving_out() -> None:
    """So its key is the same in the image of the other stage, which has none of its source."""
    recipe = recipes.load(ROOT / "recipes" / "tabular-mlp.yaml")
    source = step_specs.code_of("pretraining", recipe)["source"]
    assert source == step_code.skipped_digest() != step_specs.source_of("pretraining", recipe.task)
    assert step_specs.code_of("fine_tuning", recipe)["source"] == step_specs.source_of("fine_tuning", recipe.task)
