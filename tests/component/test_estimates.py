"""What a plan expects training to cost, against what it then costs."""

import json
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from modelmill import recipe as recipes
from modelmill.pipelines.planning import estimates
from modelmill.pipelines.planning.plan import plan
from modelmill.runtime import memo
from modelmill.runtime.run_records import Estimate
from tests.component.steps import Steps
from tests.pipeline.test_text_classification import rows as text_rows
from tests.pipeline.test_text_classification import write as text_recipe
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table


def expected(steps: Steps, *overrides: str, recipe: Path | None = None) -> dict[str, Estimate]:
    """The estimates for the steps' recipe, or for another one in the same store."""
    loaded = recipes.load(recipe, list(overrides)) if recipe else recipes.from_json(steps.recipe)
    return estimates.estimate(loaded, steps.store, plan(loaded, steps.store))


def remember(steps: Steps, /, **metrics: float | None) -> None:
    """Let the last pretraining have measured this instead; None: it measured no such thing."""
    finished = memo.last(steps.store, "pretraining", recipes.from_json(steps.recipe).name)
    assert finished is not None, "there was no pretraining"
    kept = {name: value for name, value in (finished.metrics | metrics).items() if value is not None}
    memo.commit(steps.store, finished.model_copy(update={"metrics": kept}))


def test_a_decoder_costs_the_flops_that_were_expected_before_anything_was_known(tmp_path: Path) -> None:
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"))
    steps = Steps(recipe, tmp_path / "steps")
    before = expected(steps)
    assert list(before) == ["pretraining", "fine_tuning"]
    assert before["pretraining"].amount == 20 * 4 * 64 and before["pretraining"].unit == "tokens"
    assert {e.device_hours for e in before.values()} == {None}
    assert "not known before a first run" in before["pretraining"].basis
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    measured = steps.record("pretraining").metrics
    assert before["pretraining"].parameters == measured["parameters"]
    assert before["pretraining"].model_flops == pytest.approx(measured["model_flops"], rel=0.01)

    # The other training's speed will do until there is one of this step's own.
    after = expected(steps)
    assert list(after) == ["fine_tuning"] and after["fine_tuning"].basis.startswith("pretraining last ran at ")
    assert measured["device"] in after["fine_tuning"].basis
    steps.tuned(corpus, pretrained)
    tuned = steps.record("fine_tuning").metrics
    assert after["fine_tuning"].model_flops == pytest.approx(tuned["model_flops"], rel=0.01)

    # As many steps as last time take as long as last time.
    same = expected(steps, "fine_tuning.learning_rate=0.02", recipe=recipe)
    assert list(same) == ["fine_tuning"] and same["fine_tuning"].basis.startswith("it last ran at ")
    assert same["fine_tuning"].device_hours == pytest.approx(tuned["device_seconds"] / 3600)
    assert estimates.total(same)["device_hours"] == same["fine_tuning"].device_hours
    other = expected(steps, "name=other", recipe=recipe)
    assert other == {}, "equal work is reused, whatever the recipe's name"
    other = expected(steps, "name=other", "seed=2", "resources.pretraining.gpu=8", recipe=recipe)
    assert other["pretraining"].basis.startswith("pretraining of tiny-lm last ran at ")
    assert other["pretraining"].basis.endswith("; the recipe asks a cluster for 8 nvidia.com/gpu")


def test_a_perceptron_is_known_once_its_classes_and_rows_are_counted(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), fine_tuning__patience=None, fine_tuning__steps=20)
    steps = Steps(recipe, tmp_path / "steps")
    (unknown,) = expected(steps).values()
    basis = "the size of a batch is not known before a first run with these settings"
    # The recipe's suite does not list the classes: two are assumed.
    assert unknown == Estimate(unit="samples", parameters=2 * 4 + 4 + 4 + 1, basis=basis)
    (sized,) = expected(steps, "fine_tuning.batch_size=8", recipe=recipe).values()
    assert sized.model_flops and sized.basis.endswith("; assumed: 2 classes in 'kind'")
    assert estimates.total({"fine_tuning": unknown}) == {"model_flops": None, "device_hours": None}
    corpus = steps.corpus()
    (known,) = expected(steps).values()
    steps.tuned(corpus, steps.pretrained(corpus))
    measured = steps.record("fine_tuning").metrics
    assert known.amount == 20 * sum(corpus.info["splits"]["train"].values())
    assert known.parameters == measured["parameters"]
    assert known.model_flops == pytest.approx(measured["model_flops"])
    (early,) = expected(steps, "fine_tuning.patience=3", recipe=recipe).values()
    assert early.basis.endswith("; at most: it may stop early")


def test_a_table_is_no_measure_of_a_decoder(tmp_path: Path) -> None:
    steps = Steps(table_recipe(tmp_path, write_table(tmp_path / "table")), tmp_path / "steps")
    corpus = steps.corpus()
    steps.tuned(corpus, steps.pretrained(corpus))
    found = expected(steps, recipe=language_recipe(tmp_path, write_corpus(tmp_path / "data")))
    assert found["pretraining"].model_flops and found["pretraining"].device_hours is None


def test_given_weights_have_the_shape_that_their_configuration_says(tmp_path: Path) -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=320, hidden_size=16, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "llama")
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=320)).save_pretrained(tmp_path / "gpt2")
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"))
    steps = Steps(recipe, tmp_path / "steps")
    found = expected(steps, f"pretraining.init={tmp_path}/llama", recipe=recipe)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert {e.parameters for e in found.values()} == {parameters}
    other = expected(steps, f"pretraining.init={tmp_path}/gpt2", "fine_tuning.method=full", recipe=recipe)
    assert (other["pretraining"].parameters, other["pretraining"].model_flops) == (None, None)


def test_what_trains_nothing_costs_nothing(tmp_path: Path) -> None:
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"))
    steps = Steps(recipe, tmp_path / "steps")
    assert list(expected(steps, "pretraining=none", recipe=recipe)) == ["fine_tuning"]
    assert list(expected(steps, "fine_tuning=none", "pretraining.steps=0", recipe=recipe)) == []


def test_a_record_of_a_version_that_measured_less_is_no_measure(tmp_path: Path) -> None:
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"))
    steps = Steps(recipe, tmp_path / "steps")
    steps.pretrained(steps.corpus())
    remember(steps, model_flops=None)
    found = expected(steps, "seed=2", recipe=recipe)
    assert found["pretraining"].device_hours is None
    assert json.loads(found["pretraining"].model_dump_json())["model_flops"] > 0


def test_what_is_assumed_of_a_model_is_said_and_what_it_cost_before_is_believed_first(tmp_path: Path) -> None:
    recipe = text_recipe(tmp_path, text_rows())
    steps = Steps(recipe, tmp_path / "steps")
    first = expected(steps)["pretraining"]
    length = recipes.from_json(steps.recipe).preprocessing.context_length
    assert first.basis.endswith(f"; assumed: texts of {length} tokens, the most that the recipe takes")
    corpus = steps.corpus()
    steps.pretrained(corpus)
    measured = steps.record("pretraining").metrics
    longer = expected(steps, "pretraining.steps=80", "seed=7", recipe=recipe)["pretraining"]
    assert longer.model_flops == pytest.approx(2 * measured["model_flops"])
    assert longer.parameters == measured["parameters"] and longer.basis.startswith("it last ran at ")
    larger = expected(steps, "pretraining.batch_size=64", recipe=recipe)["pretraining"]
    assert larger.model_flops == pytest.approx(2 * measured["model_flops"])
    # Texts are shorter than the most that the recipe takes.
    assert first.model_flops and first.model_flops >= measured["model_flops"]
    for change in ("model.hidden_size=64", "preprocessing.sequence_length=16"):
        assert "assumed: texts of" in expected(steps, change, recipe=recipe)["pretraining"].basis, change
    assert expected(steps, "pretraining.batch_size=all", recipe=recipe)["pretraining"].model_flops is None
    assert "assumed" not in expected(steps, "seed=7", recipe=recipe)["pretraining"].basis
    remember(steps, steps=0)
    assert "assumed" in expected(steps, "seed=7", recipe=recipe)["pretraining"].basis, "no steps are no measure"
