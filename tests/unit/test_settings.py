"""Every key that a user writes says what it is."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from modelmill.pipelines.cluster.profiles import Profiles
from modelmill.pipelines.cluster.schedules import Schedule
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.trigger.requests import Trigger
from modelmill.recipe import sections, task_packages
from modelmill.recipe.section import description

RECIPES = [task_packages.recipe_type(task) for task in task_packages.packages()]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation names, and those that their keys name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(annotation):
        yield from models(part)


ALL = {model for root in (sections.Recipe, *RECIPES, Cluster, Profiles, Schedule, Trigger) for model in models(root)}


@pytest.mark.parametrize("model", sorted(ALL, key=repr), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_every_key_is_described_in_one_short_line(model: type[BaseModel]) -> None:
    said = {name: description(model, name) for name in model.model_fields}
    unsaid = [name for name, text in said.items() if not text.endswith(".") or "\n" in text or len(text) > 280]
    assert not unsaid


def test_a_key_that_is_declared_again_keeps_its_description_unless_it_has_its_own() -> None:
    class Narrower(sections.Comparison):
        metric: str = "accuracy"

    class Other(sections.Comparison):
        metric: str = sections.Comparison.model_fields["metric"].default
        rule: str = "superior"  # type: ignore[assignment]

    assert description(Narrower, "metric") == description(sections.Comparison, "metric")
    assert Other.model_json_schema()["properties"]["rule"]["description"].startswith("`non_inferior`")
