"""What a recipe of a detector may say, for a network of ours and for a checkpoint's."""

from typing import Any

import pytest
from pydantic import ValidationError

from modelmill.recipe import task_packages

OURS: dict[str, Any] = {
    "name": "shapes",
    "task": "image_detection",
    "data": {"path": "data", "media": "images", "suite": "suite.json"},
    "preprocessing": {"classes": ["a", "b"], "size": 48, "single_size": 24},
    "fine_tuning": {"steps": 1, "learning_rate": 0.1},
    "registration": {"model": "shapes"},
}
AUTO = OURS | {
    "preprocessing": {"classes": ["a", "b"]},
    "model": {"type": "auto"},
    "pretraining": {"init": "/checkpoint", "steps": 0, "learning_rate": 0.1},
}


def read(document: dict[str, Any], **changes: Any) -> Any:
    sections = {name: {**document.get(name, {}), **change} for name, change in changes.items()}
    return task_packages.recipe_type("image_detection").model_validate(document | sections)


def test_the_processor_is_that_of_the_weights_if_no_other_is_named() -> None:
    recipe = read(AUTO)
    assert recipe.models == {"pretraining.init": "/checkpoint", "preprocessing.processor.from": "/checkpoint"}
    other = read(AUTO, preprocessing={"processor": {"from": "/other", "size": 320}})
    assert other.preprocessing.given_checkpoint == "/other" and other.preprocessing.processor.size == 320
    adapted = read(AUTO, fine_tuning={"method": "lora", "frozen_layers": 2})
    assert adapted.fine_tuning.adapted and read(OURS).model.type == "centers"


@pytest.mark.parametrize(
    ("document", "changes", "why"),
    [
        (OURS, {"preprocessing": {"size": None}}, "preprocessing.size: model.type: centers needs it"),
        (OURS, {"preprocessing": {"single_size": None}}, "preprocessing.single_size: model.type: centers needs it"),
        (OURS, {"preprocessing": {"processor": {"from": "/x"}}}, "a processor is for model.type: auto"),
        (OURS, {"fine_tuning": {"method": "lora"}}, "model.type: centers has no blocks for adapters"),
        (OURS, {"model": {"type": "boxes"}}, "its type should be centers or auto"),
        (AUTO, {"preprocessing": {"size": 64}}, "the checkpoint's processor decides"),
        (AUTO, {"preprocessing": {"small": "drop"}}, "preprocessing.small: with model.type: auto"),
        (AUTO, {"fine_tuning": {"label_smoothing": 0.1}}, "the checkpoint's own loss"),
        (AUTO, {"model": {"width": 8}}, "width"),
        (AUTO, {"pretraining": {"init": "random"}}, "name a checkpoint in pretraining.init or"),
    ],
)
def test_what_does_not_go_together_is_refused(document: dict[str, Any], changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        read(document, **changes)
