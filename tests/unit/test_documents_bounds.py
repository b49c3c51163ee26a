"""Recipes and suites that are no such: one line, at once, whatever is in them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmill import recipe as recipes
from modelmill.core.errors import UserError, one_line
from modelmill.recipe import documents
from tests.recipes import language_recipe, table_recipe

BOMB = "\n".join(
    ["l0: &l0 [a, b, c, d, e, f, g, h]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 8)}]" for n in range(1, 12))]
)
MERGES = "\n".join(
    [
        "m0: &m0 {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8}",
        *(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 8)}]}}" for n in range(1, 12)),
    ]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 2026-13-45", "not valid YAML: month must be in 1..12"),
        ("seed: !!bool 0.01", "not valid YAML"),
        ("seed: !!int abc", "not valid YAML"),
        ("seed: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("seed: " + "9" * 50, "an integer of more than 40 digits"),
        ("task: [a]", "task: ['a'] is not one of"),
        ("task: " + "x" * 10_000, "is not one of"),
        ("task: " + "[" * 2000 + "]" * 2000, "nested more than 64 levels deep"),
        ('name: "\\ud800"', "half of a surrogate pair"),
        ("a: &a {<<: *a}", "*a is part of what it stands for"),
        ("a: &a [*a]", "*a is part of what it stands for"),
        (BOMB, "more than 200,000 values"),
        (MERGES, "merges more than 200,000 keys"),
        ("? [a]\n: b", "not valid YAML"),
        ("", "a recipe is a mapping"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_document_that_is_no_recipe_is_one_short_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        recipes.load(file)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.path=~nosuchuser/x", "there is no home folder of that user"),
        ("data.path=" + "x" * 5000, "data.path"),
        ("data.suite=" + "x" * 5000, "File name too long"),
        ("model.num_hidden_layers=100000", "less than or equal to 1024"),
        ("seed=!!int abc", "not a YAML value"),
        ("name=" + "x" * 100_000, "name: "),
    ],
)
def test_a_value_that_is_none_is_one_short_line(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        recipes.load(language_recipe(tmp_path, tmp_path / "data"), [override])
    assert said in str(refused.value) and len(str(refused.value)) < 6000


def test_a_pipe_is_no_suite_and_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"):
        recipes.read_suite(tmp_path / "pipe", "--suite")
    with pytest.raises(UserError, match="not a regular file"):
        recipes.load(tmp_path / "pipe")


def test_a_suite_350_levels_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text('{"expectations": ' + "[" * 350 + "]" * 350 + "}")
    with pytest.raises(UserError, match="the suite is nested more than 64 levels deep"):
        recipes.read_suite(tmp_path / "suite.json", "--suite")


def test_aliases_and_merges_that_do_not_multiply_are_read() -> None:
    text = "base: &base {steps: 3, rate: 1e-3}\na: {<<: *base, steps: 4}\nb: *base"
    read = documents.parse_yaml(text)
    assert read["a"] == {"steps": 4, "rate": 1e-3} and read["b"] == {"steps": 3, "rate": 1e-3}


def test_a_message_that_repeats_a_long_value_is_cut_in_the_middle() -> None:
    line = one_line(UserError(f"{'x' * 100_000}: take another"))
    assert len(line) < 4100 and line.startswith("xxx") and line.endswith("take another")


# `MODELMILL_FUZZ=10000` tries more than a suite has time for.
EXAMPLES = int(os.environ.get("MODELMILL_FUZZ", "200"))
SCALARS: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["none", "auto", "~x/y", "models:/a", "s3://", "1e-3", "2026-13-45", "{{", "\x00", "x" * 5000]),
    st.dates(),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), write=st.sampled_from([language_recipe, table_recipe]), times=st.integers(1, 3))
def test_whatever_a_recipe_holds_it_is_read_or_refused(tmp_path: Path, data: Any, write: Any, times: int) -> None:
    """A recipe with parts of it exchanged for others, added or taken out."""
    document = yaml.safe_load(write(tmp_path, tmp_path / "data").read_text())
    for _ in range(times):
        place: Any = document
        while isinstance(place, dict) and place:
            key = data.draw(st.sampled_from(sorted(map(str, place))))
            if not isinstance(place.get(key), dict) or data.draw(st.booleans()):
                break
            place = place[key]
        if isinstance(place, dict):
            change = data.draw(st.sampled_from(["exchange", "add", "take out"]))
            if change == "take out":
                place.pop(key, None) if place else None
            else:
                name = key if change == "exchange" and place else data.draw(st.text(max_size=10))
                place[name] = data.draw(JUNK)
    (tmp_path / "changed.yaml").write_text(yaml.dump(document))
    try:
        assert json.loads(recipes.to_json(recipes.load(tmp_path / "changed.yaml")))
    except UserError as refused:
        assert len(one_line(refused)) < 4100
