"""Recipes whose checkpoint decides what the network is."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.errors import UserError
from modelmill.recipe import from_json, step_specs, to_json
from modelmill.recipe.load import parse
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime.compatibility import require_length
from modelmill.runtime.sources import architecture

GIVEN: dict[str, Any] = {
    "name": "texts",
    "task": "text_classification",
    "data": {"path": "/data", "suite": {"name": "open", "expectations": []}},
    "model": {"type": "auto"},
    "pretraining": {"init": "models:/base/1", "steps": 0, "learning_rate": 0.1},
    "fine_tuning": {"steps": 1, "learning_rate": 0.1},
    "registration": {"model": "texts"},
}


def test_the_tokenizer_is_the_checkpoints_and_preprocessing_sees_no_more_of_the_model() -> None:
    recipe = parse(GIVEN, "recipe")
    assert recipe.models == dict.fromkeys(("pretraining.init", "preprocessing.tokenizer.from"), "models:/base/1")
    assert isinstance(step_specs.visible_to("preprocessing", recipe).model, PretrainedModel)
    assert step_specs.settings_of("preprocessing", recipe)["model.type"] == "auto"
    assert to_json(from_json(to_json(recipe))) == to_json(recipe)
    ours = parse(GIVEN | {"model": {"hidden_size": 32}}, "recipe")
    assert step_specs.visible_to("preprocessing", ours).model is None
    assert "model.type" not in step_specs.settings_of("preprocessing", ours)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"type": "autom"}}, "model: its type should be bert or auto"),
        ({"model": {"type": "auto", "hidden_size": 8}}, r"model\.hidden_size: unknown key; known: type"),
        ({"model": {"hidden_sze": 8}}, r"model\.hidden_sze: unknown key; did you mean 'hidden_size'"),
        (
            {"pretraining": "none"},
            r"model\.type: auto: name a checkpoint in pretraining\.init or, .* in preprocessing\.tokenizer\.from",
        ),
        ({"pretraining": GIVEN["pretraining"] | {"steps": 5}}, r"pretraining\.steps: with model\.type: auto"),
    ],
)
def test_what_does_not_go_with_a_checkpoint_is_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^recipe: {said}"):
        parse(GIVEN | changes, "recipe")


def test_the_same_network_can_be_trained_from_random_weights() -> None:
    recipe = parse(
        GIVEN | {"pretraining": "none", "preprocessing": {"tokenizer": {"from": "models:/base/1"}}}, "recipe"
    )
    assert recipe.models == {"preprocessing.tokenizer.from": "models:/base/1"}


def test_heads_are_known_without_an_import() -> None:
    assert architecture.with_head("AutoModelForCTC")["wav2vec2"] == "Wav2Vec2ForCTC"
    assert architecture.with_head("AutoModelForNothing") == {}
    architecture.require_head("here", {"model_type": "bert"}, ("AutoModelForCTC", "AutoModelForTokenClassification"))
    with pytest.raises(UserError, match=r"here: it is a ViTModel, model_type 'vit', of which .* no AutoModelForCTC"):
        architecture.require_head("here", {"model_type": "vit", "architectures": ["ViTModel"]}, ("AutoModelForCTC",))


@pytest.mark.parametrize(("kind", "most"), [("bert", 32), ("roberta", 30), ("mpnet", 30)])
def test_positions_before_the_first_do_not_count(tmp_path: Path, kind: str, most: int) -> None:
    config = {"model_type": kind, "max_position_embeddings": 32, "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    require_length(tmp_path, most)
    with pytest.raises(UserError, match=f"made for {most} positions"):
        require_length(tmp_path, most + 1)
