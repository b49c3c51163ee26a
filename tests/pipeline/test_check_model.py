"""`modelmill plan --check-model` proves how the weights to start from are fed, before anything is spent."""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertLMHeadModel

from tests import cli
from tests.component.registrations import write_language_model
from tests.recipes import language_recipe, write_corpus


def recipe_from(folder: Path, model: Path) -> Path:
    changes = {
        "preprocessing__tokenizer": {"from": str(model)},
        "pretraining__init": str(model),
        "fine_tuning__method": "full",
    }
    return language_recipe(folder, write_corpus(folder / "data", 6, 1), preprocessing__sequence_length=32, **changes)


def test_a_plan_names_the_way_and_how_far_it_is_from_transformers(tmp_path: Path) -> None:
    write_language_model(tmp_path / "model")
    recipe = recipe_from(tmp_path, tmp_path / "model")
    done = cli.modelmill("plan", recipe, "--check-model", "--json", "--store", f"file://{tmp_path}/store")
    assert done.returncode == 0, done.stderr
    model = json.loads(done.stdout)["model"]
    assert model["way"] == "packed windows, Modelmill's attention"
    assert model["way_difference_nats"] <= 1e-4
    assert not (tmp_path / "store").exists()


def test_a_plan_refuses_a_model_that_sees_later_tokens(tmp_path: Path) -> None:
    write_language_model(tmp_path / "model")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=258, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertLMHeadModel(config).save_pretrained(tmp_path / "model")
    recipe = recipe_from(tmp_path, tmp_path / "model")
    done = cli.modelmill("plan", recipe, "--check-model", "--store", f"file://{tmp_path}/store")
    assert (done.returncode, done.stdout) == (2, "")
    assert "BertLMHeadModel is not a causal language model" in done.stderr and "block 0 (BertLayer)" in done.stderr


def test_a_plan_refuses_a_chat_template_that_fails(tmp_path: Path) -> None:
    write_language_model(tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ raise_exception('no prompt is ever right') }}")
    recipe = recipe_from(tmp_path, tmp_path / "model")
    done = cli.modelmill(
        *("plan", recipe, "--check-model", "--store", f"file://{tmp_path}/store"),
        *("--set", "preprocessing.pairs.framing=chat"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the tokenizer's chat template fails: no prompt is ever right" in done.stderr
