"""A checkpoint's classifier of images: a training that is cut in two, and networks of ours that are served."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modelmill.components.registration import served_code
from modelmill.models.vision.classifier import VisionConfig, VisionForImageClassification
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.store import Store
from modelmill.tasks.image_classification.serve import ImageClassifier
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop import engine, journal
from modelmill.training.loop.checkpoint import Checkpoints
from tests.pretrained import vision
from tests.pretrained.vision import LABELS, SIZES, pictures, task_over

CHANGED: dict[str, Any] = {"shift": 0.1, "turn": 20, "zoom": 0.1, "flip": True, "colour": 0.2, "erase": 0.5}
GIVEN: dict[str, Any] = {"steps": 6, "learning_rate": 0.01, "batch_size": 3, "layer_decay": 0.8, "evaluate_every": 2}
SETTINGS = AdaptedFineTuning(method="full", checkpoint_seconds=0, **GIVEN)


def trained(folder: Path, store: Store, family: str, stop_after: int | None = None) -> dict[str, Any]:
    """Train in a new place with the store's checkpoints, and return the weights."""

    def progress(done: float, *_: object) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    folder.mkdir()
    task = task_over(folder / "task", vision.write(folder / "checkpoint", family), ["red", "blue", "grey"], **CHANGED)
    seed_everything(0)
    model = task.load(folder / "checkpoint")
    examples = task.examples("fine_tuning", "train")
    engine.train(model, task, examples, examples, SETTINGS, 0, Checkpoints(store, "key", folder), progress)
    return dict(model.state_dict())


@pytest.mark.parametrize("family", ["efficientnet", "vit"])
def test_a_training_on_changed_images_cut_in_two_ends_with_the_same_bits(
    family: str, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0)
    whole = trained(tmp_path / "whole", store, family)
    for key in list(store.list("checkpoints/")):
        store.delete(key)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "first", store, family, stop_after=4)
    assert Checkpoints(store, "key", tmp_path).newest_step() == 3
    cut = trained(tmp_path / "second", store, family)
    assert [name for name, weight in whole.items() if not torch.equal(weight, cut[name])] == []


def test_a_network_of_ours_is_trained_saved_and_served(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = VisionForImageClassification(
        VisionConfig(
            network="efficientnet_b0",
            id2label=dict(enumerate(LABELS)),
            label2id={one: n for n, one in enumerate(LABELS)},
        )
    )
    checkpoint, saved = tmp_path / "checkpoint", tmp_path / "saved"
    given.save_pretrained(checkpoint)
    vision.write_processor(checkpoint, "vit")
    task = task_over(tmp_path / "task", checkpoint)
    model = task.load(checkpoint).eval()
    assert task.notes["head"] == "the checkpoint's" and len(task.blocks(model)) > 1
    saved.mkdir()
    task.save(model, saved)
    with torch.no_grad():
        batch = task.examples("fine_tuning", "train").batch(np.arange(len(SIZES)))
        expected = task.logits(model, batch["pixel_values"]).double().softmax(-1).max(-1)
    assert any(path.endswith("models/vision/plain.py") for path in served_code.files("image_classification"))
    served = ImageClassifier()
    served.load_context(SimpleNamespace(artifacts={"model": str(saved)}))
    found = served.predict(None, pd.DataFrame({"image": [encoded(one) for one in pictures()]}))
    assert found["label"].tolist() == [LABELS[number] for number in expected.indices.tolist()]
    assert found["probability"].tolist() == pytest.approx(expected.values.tolist(), abs=1e-5)


def encoded(picture: Any) -> str:
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()
