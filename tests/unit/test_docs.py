"""What the documents say is what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from modelmill.recipe import task_packages
from modelmill.recipe.sections import Resources
from modelmill.recipe.step_specs import STEPS

ROOT = Path(__file__).parents[2]


def keys(model: type[BaseModel]) -> Iterator[str]:
    """The names of the keys of a section and of those in it, as a person writes them."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in sections(field.annotation):
            yield from keys(inner)


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Resources:
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


@pytest.mark.parametrize("task", task_packages.packages())
def test_every_key_of_a_recipe_is_documented(task: str) -> None:
    every, *tasks = (ROOT / "docs" / "recipe-reference.md").read_text().split("\n## `")
    text = every + next(own for own in tasks if own.startswith(f"{task}`"))
    missing = [
        key
        for key in keys(task_packages.recipe_type(task))
        if f"`{key}`" not in text and f".{key}`" not in text and key not in STEPS
    ]
    assert not missing


@pytest.mark.parametrize("step", [*STEPS, "reporting"])
def test_every_component_is_described(step: str) -> None:
    folder = ROOT / "components" / step
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["name"] == step
    assert {"stability", "dependencies", "tags", "lastVerified"} <= metadata.keys()
    readme = (folder / "README.md").read_text()
    for section in ("Inputs", "Outputs", "Example"):
        assert f"## {section}\n" in readme
    named = [*STEPS[step].outputs] if step in STEPS else ["report"]
    assert not [output for output in named if f"`{output}`" not in readme]


def test_the_readme_has_every_recipe_with_the_seconds_that_were_measured() -> None:
    reached, readme = ((ROOT / document).read_text() for document in ("docs/recipes.md", "README.md"))
    measured = re.findall(r"^\| ([a-z0-9-]+) \| (\d+) \| [\d,]+ \|", reached, re.MULTILINE)
    named = re.findall(r"^\| \[([a-z0-9-]+)\]\(.*\| (\d+) \|$", readme, re.MULTILINE)
    assert sorted(named) == sorted(measured)
    assert {name for name, _ in named} == {recipe.stem for recipe in (ROOT / "recipes").glob("*.yaml")}
