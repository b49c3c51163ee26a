"""The JSON schema of recipes takes what the loader takes, and refuses with it what is wrong with a single key."""

import copy
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from docs import generate
from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.recipe import schema

ROOT = Path(__file__).parents[2]
SHIPPED = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}
PROBES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    0.25,
    10**9,
    "none",
    "auto",
    "on",
    "",
    [],
    ["a", "b"],
    [1, 2],
    {},
    {"x": 1},
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    document = schema.schema()
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def document(name: str) -> dict[str, Any]:
    return yaml.safe_load(SHIPPED[name].read_text("utf-8"))


def changed(recipe: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A recipe with another value at a dotted key."""
    *sections, last = key.split(".")
    recipe = copy.deepcopy(recipe)
    section = recipe
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return recipe


def loads(recipe: dict[str, Any], folder: Path) -> bool:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    (folder / "suites").mkdir(exist_ok=True)
    if isinstance(recipe["data"], dict) and isinstance(suite := recipe["data"].get("suite"), str) and suite:
        (folder / suite).write_text('{"expectations": []}')
    try:
        recipes.load(path)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_fit_the_schema_that_their_first_line_names(name: str, validator: Draft202012Validator) -> None:
    first, _, _ = SHIPPED[name].read_text("utf-8").partition("\n")
    assert first == "# yaml-language-server: $schema=schema.json"
    assert not list(validator.iter_errors(document(name)))
    filled = json.loads(recipes.to_json(recipes.load(SHIPPED[name])))
    assert not list(validator.iter_errors(filled))
    assert Draft202012Validator(schema.schema([filled["task"]])).is_valid(filled)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("python-lm", "pretraining", "none"),
        ("char-rnn", "fine_tuning", None),
        ("python-lm", "evaluation.comparison", "none"),
        ("python-lm", "evaluation.comparison", None),
        ("python-lm", "pretraining.batch_size", "all"),
        ("python-lm", "pretraining.micro_batch_size", "auto"),
        ("python-lm", "pretraining.micro_batch_size", 2),
        ("python-lm", "pretraining.compile", "off"),
        ("python-lm", "pretraining.compile", True),
        ("python-lm", "pretraining.learning_rate", 1),
        ("python-lm", "pretraining.clip_norm", None),
        ("python-lm", "pretraining.init", "models:/python-lm/1"),
        ("python-lm", "data.suite", {"name": "inline", "expectations": []}),
        ("python-lm", "data.quarantine", None),
        ("python-lm", "preprocessing.hygiene.near_duplicates", {}),
        ("python-lm", "preprocessing.tokenizer", {"from": "models:/python-lm/1"}),
        ("python-lm", "resources.pretraining", {"profile": "gpu-a100", "memory": "4Gi"}),
        ("python-lm", "evaluation.gate.loss_after", {"min": 0}),
        ("speech-enhancement", "model.noise", [0, 10.5]),
        ("image-classification", "preprocessing.channels", 1),
    ],
)
def test_what_the_loader_takes_the_schema_takes(
    name: str, key: str, value: Any, validator: Draft202012Validator, tmp_path: Path
) -> None:
    recipe = changed(document(name), key, value)
    assert loads(recipe, tmp_path)
    assert not list(validator.iter_errors(recipe))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("python-lm", "nmae", "x"),
        ("python-lm", "data.pth", "x"),
        ("python-lm", "pretraining.bad_batches.limits", 1),
        ("python-lm", "preprocessing.hygiene.contamination.word", 5),
        ("python-lm", "preprocessing.tokenizer.source", "x"),
        ("python-lm", "evaluation.gate.bits_per_byte", {"mx": 1}),
        ("python-lm", "resources.training", {"cpu": "2"}),
        ("python-lm", "task", "language_modelling"),
        ("python-lm", "task", "tabular_classification"),
        ("python-lm", "preprocessing.features", ["x"]),
        ("tabular-mlp", "fine_tuning.lora", {"rank": 4}),
        ("python-lm", "name", "../../etc"),
        ("python-lm", "seed", -1),
        ("python-lm", "seed", "1"),
        ("python-lm", "pretraining.steps", "many"),
        ("python-lm", "pretraining.learning_rate", 0),
        ("python-lm", "pretraining.learning_rate", "1e-3"),
        ("python-lm", "pretraining.optimizer", "adam"),
        ("python-lm", "pretraining.batch_size", "most"),
        ("python-lm", "preprocessing.test", 0.5),
        ("python-lm", "data.media", "video"),
        ("python-lm", "data", {"path": "x"}),
        ("python-lm", "registration", {}),
        ("python-lm", "evaluation.gate.bits_per_byte", {}),
        ("python-lm", "resources.pretraining.memory", "4 GB"),
        ("image-detection", "preprocessing.size", 63),
        ("image-detection", "preprocessing.classes", []),
        ("tabular-mlp", "model.hidden", [0]),
        ("speech-enhancement", "model.noise", [1]),
        ("recommendation", "preprocessing.test", 0.1),
    ],
)
def test_a_wrong_recipe_is_refused_by_both(
    name: str, key: str, value: Any, validator: Draft202012Validator, tmp_path: Path
) -> None:
    recipe = changed(document(name), key, value)
    assert not loads(recipe, tmp_path)
    assert not validator.is_valid(recipe)


def test_a_recipe_without_a_task_is_refused(validator: Draft202012Validator) -> None:
    recipe = document("python-lm")
    del recipe["task"]
    assert [error.message for error in validator.iter_errors(recipe)] == ["'task' is a required property"]


def test_a_mistake_is_told_of_the_task_that_is_meant(validator: Draft202012Validator) -> None:
    (error,) = validator.iter_errors(changed(document("python-lm"), "data.pth", "x"))
    assert list(error.path) == ["data"]
    assert error.message == "Additional properties are not allowed ('pth' was unexpected)"


def parts(model: BaseModel) -> Iterator[BaseModel]:
    """A section and those in it."""
    yield model
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), BaseModel):
            yield from parts(value)


def own_keys(part: BaseModel, seen: set[tuple[type, str]]) -> Iterator[str]:
    """The keys of a section that no section before it has had, inherited ones included."""
    for name, field in type(part).model_fields.items():
        declared = next(base for base in type(part).__mro__ if name in inspect.get_annotations(base))
        if (declared, name) not in seen:
            seen.add((declared, name))
            yield field.alias or name


def agree(model: type[BaseModel], validator: Draft202012Validator, section: dict[str, Any]) -> bool:
    """Whether model and schema agree on a section; rules between keys raise `value_error`, and no schema knows them."""
    fits = validator.is_valid(section)
    try:
        model.model_validate(section)
    except ValidationError as error:
        return not fits or any(one["type"] == "value_error" for one in error.errors())
    return fits


def test_the_schema_agrees_with_the_models_about_values_of_all_kinds_for_every_key() -> None:
    sections = {type(part): part for path in SHIPPED.values() for part in parts(recipes.load(path))}
    seen: set[tuple[type, str]] = set()
    disagreements = []
    for model, part in sections.items():
        validator = Draft202012Validator(model.model_json_schema(schema_generator=schema.SectionSchema))
        filled = part.model_dump(mode="json", by_alias=True)
        assert agree(model, validator, filled)
        for key in own_keys(part, seen):
            probes = [probe for probe in PROBES if not agree(model, validator, filled | {key: probe})]
            disagreements += [(model.__name__, key, probe) for probe in probes]
    assert len(seen) > 200
    # In Python True is 1, so that a literal of numbers takes it. Images for a network that no checkpoint decides have
    # no processor: a rule between keys.
    one_is_true = [("ImagePreprocessing", "channels", True), ("GenerationPreprocessing", "channels", True)]
    assert disagreements == [*one_is_true, ("Recipe", "model", {})]


def test_generated_files_are_those_of_the_code() -> None:
    stale = [path.relative_to(ROOT) for path, text in generate.outputs().items() if path.read_text("utf-8") != text]
    assert not stale, f"run `make docs` to renew {', '.join(map(str, stale))}"
