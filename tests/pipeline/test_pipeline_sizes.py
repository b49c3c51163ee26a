"""A pipeline is small, and the same whatever the recipe's texts are: above 128 KiB Argo cannot start a template."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import pipeline_sizes
from benchmarks.pipeline_sizes import RECIPES, compiled, for_cluster
from modelmill import recipe as recipes
from modelmill.recipe import Recipe
from tests.recipes import table_recipe

# Of the file; of what is uploaded, as JSON, with one group of shards and with two.
MOST_BYTES, MOST_UPLOADED, MOST_IN_GROUPS = 40_000, 40_000, 45_000


def with_long_suite(recipe: Recipe) -> Recipe:
    """The recipe with 1,000 expectations."""
    kwargs = [{"column": f"a_column_of_the_data_{number}", "mostly": 0.99} for number in range(1000)]
    expectations = [{"type": "expect_column_values_to_not_be_null", "kwargs": one} for one in kwargs]
    suite = {"name": "long", "expectations": expectations}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"suite": suite})})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_pipeline_is_small_and_the_same_for_a_suite_of_any_size(path: Path) -> None:
    recipe = for_cluster(path)
    long = with_long_suite(recipe)
    assert len(recipes.to_json(long)) > 100_000
    uploaded, file = compiled(recipe), compiled(recipe, on_cluster=False)
    assert compiled(long) == uploaded
    assert len(compiled(long, on_cluster=False)) == len(file) < MOST_BYTES
    as_json = sum(len(json.dumps(one, separators=(",", ":"))) for one in yaml.safe_load_all(uploaded))
    assert as_json < (MOST_UPLOADED if recipe.data.groups == 1 else MOST_IN_GROUPS)


def test_a_schedules_pipeline_is_the_same_for_a_suite_of_any_size(tmp_path: Path) -> None:
    recipe = recipes.load(table_recipe(tmp_path, tmp_path / "data", data__path="s3://raw/data", data__groups=3))
    assert compiled(with_long_suite(recipe), if_changed=True) == compiled(recipe, if_changed=True)


def test_each_group_of_shards_adds_the_same_to_a_workflow(tmp_path: Path) -> None:
    recipe = recipes.load(table_recipe(tmp_path, tmp_path / "data", data__path="s3://raw/data", data__groups=3))
    spec = next(yaml.safe_load_all(compiled(recipe)))
    grown = [pipeline_sizes.nodes(spec, groups) for groups in (2, 3, 4)]
    assert grown[1] == pipeline_sizes.nodes(spec) and grown[2] - grown[1] == grown[1] - grown[0] > 0
    most = pipeline_sizes.sizes(recipe).groups
    inside, above = (pipeline_sizes.nodes(spec, groups) * pipeline_sizes.NODE_BYTES for groups in (most, most + 1))
    assert inside < pipeline_sizes.MOST_NODE_BYTES <= above
