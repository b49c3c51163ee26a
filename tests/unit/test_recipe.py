"""A recipe is refused with one line that names the file, the key and, where there is one, the nearest known key."""

from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import UserError, one_line
from tests.recipes import language_recipe, table_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return language_recipe(tmp_path, tmp_path / "data")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pretraining.stpes=3", "pretraining.stpes: unknown key; did you mean 'steps'?"),
        ("pretraning.steps=3", "pretraning: unknown key; did you mean 'pretraining'?"),
        ("fine_tuning.lora.rnak=3", "fine_tuning.lora.rnak: unknown key; did you mean 'rank'?"),
        ("pretraining.steps=-1", "pretraining.steps: input should be greater than or equal to 0, got -1"),
        ("pretraining.learning_rate=0", "pretraining.learning_rate: input should be greater than 0, got 0"),
        ("pretraining.learning_rate=.nan", "pretraining.learning_rate: input should be a finite number"),
        ("pretraining.learning_rate=fast", "pretraining.learning_rate: input should be a valid number, got 'fast'"),
        ("preprocessing.test=0.7", "preprocessing.test: input should be less than 0.5, got 0.7"),
        ("task=language_modelling", "did you mean 'language_modeling'?"),
        ("evaluation.gate.bits_per_byt.max=3", "did you mean 'bits_per_byte'?"),
        ("evaluation.gate.bits_per_byte={}", "evaluation.gate.bits_per_byte: needs min or max"),
        (
            "evaluation.gate.preference_accuracy.min=0.6",
            "evaluation.gate.preference_accuracy needs preprocessing.pairs.from: preferences, it is python_docstrings",
        ),
        (
            "evaluation.comparison={metric: label_margin}",
            "evaluation.comparison.metric: label_margin needs preprocessing.pairs.from: labelled",
        ),
        (
            "evaluation.gate.tool_calls_match.min=0.6",
            "evaluation.gate.tool_calls_match needs preprocessing.pairs.from: messages or sharegpt",
        ),
        ("model.num_attention_heads=5", "model: hidden_size must be an even multiple of num_attention_heads"),
        ("data.suite=absent.json", "absent.json: No such file or directory"),
        ("registration={}", "registration.model: this key is needed"),
        ("preprocessing.pairs=null", "fine_tuning needs preprocessing.pairs"),
        ("name=../../etc", "name: "),
        ("steps", "--set steps: write section.key=value"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(recipe: Path, override: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        recipes.load(recipe, [override])
    assert said in str(refused.value)
    assert "\n" not in one_line(refused.value)
    assert override.startswith("steps") or str(recipe.parent) in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["fine_tuning=none", "evaluation.gate.loss_after.max=3"], "gate.loss_after needs fine_tuning, which is none"),
        (["pretraining=none", "evaluation.gate.loss_before.max=3"], "loss_before needs pretraining and fine_tuning"),
        (["fine_tuning=none", "evaluation.documents=false"], "leaves nothing to score"),
        (["evaluation.documents=false"], "evaluation.gate.bits_per_byte needs evaluation.documents: true"),
        (
            ["fine_tuning=none", "evaluation.comparison={metric: response_bits_per_byte}"],
            "evaluation.comparison.metric: response_bits_per_byte needs fine_tuning, which is none",
        ),
    ],
)
def test_what_gate_and_comparison_ask_for_must_be_measured(recipe: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        recipes.load(recipe, overrides)
    assert said in str(refused.value)


def test_the_file_of_a_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\ndata: {path: [\n")
    with pytest.raises(UserError, match=r"broken\.yaml:3: not valid YAML"):
        recipes.load(broken)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such recipe"):
        recipes.load(tmp_path / "absent.yaml")


def test_overrides_reach_nested_keys_and_read_numbers_as_people_write_them(recipe: Path) -> None:
    loaded = recipes.load(recipe, ["fine_tuning.learning_rate=1e-3", "fine_tuning.lora.rank=2", "pretraining=none"])
    assert loaded.fine_tuning is not None
    assert loaded.fine_tuning.learning_rate == 0.001
    assert loaded.pretraining is None
    assert recipes.to_json(loaded) == recipes.to_json(recipes.from_json(recipes.to_json(loaded)))


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("auto", "auto")])
def test_compilation_is_switched_by_words_that_yaml_reads_as_booleans(recipe: Path, written: str, meant: str) -> None:
    loaded = recipes.load(recipe, [f"fine_tuning.compile={written}"])
    assert loaded.fine_tuning is not None
    assert loaded.fine_tuning.compile == meant


def test_paths_are_relative_to_the_recipe_and_uris_are_left_alone(tmp_path: Path) -> None:
    relative = recipes.load(table_recipe(tmp_path, Path("rows")))
    assert relative.data.path == str(tmp_path / "rows")
    remote = recipes.load(table_recipe(tmp_path, Path("x")), ["data.path=s3://bucket/rows"])
    assert remote.data.path == "s3://bucket/rows"


def test_the_shipped_recipes_load() -> None:
    shipped = sorted(Path("recipes").glob("*.yaml"))
    assert [recipes.load(path).name for path in shipped] == [path.stem for path in shipped]
