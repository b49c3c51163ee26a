"""What image_classification computes: its networks, how images are moved and rotated, which labels are seen."""

import io
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modelmill.core.errors import UserError
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.data.media.images import decode, fitted, png
from modelmill.measures.logistic import Labelled, logistic_regression
from modelmill.models import layers
from modelmill.models.architectures import ARCHITECTURES
from modelmill.store.manifest import Manifest
from modelmill.tasks.image_classification import demo
from modelmill.tasks.image_classification.augmentation import moved, rotated
from modelmill.tasks.image_classification.labels import number
from modelmill.tasks.image_classification.recipe import ImageModel, ImagePreprocessing
from modelmill.tasks.image_classification.task import ImageClassification

INFO = {"classes": ["a", "b", "c"], "other_classes": ["x", "y"], "channels": 3, "size": 16}


def task_of(stage: str, tmp_path: Path, info: dict[str, Any] | None = None, **settings: Any) -> ImageClassification:
    draws = np.random.default_rng(0)
    with ShardedWriter(tmp_path) as writer:
        for identity in range(6):
            writer.add("train", identity, {"images": draws.integers(0, 256, (3, 16, 16), np.uint8)})
    labels = {"labels": np.array([0, 1, 2, -1, -1, -1]), "others": np.array([-1, -1, -1, 0, 1, 1])}
    files = writer.files() | {f"train/{name}.npy": tmp_path / f"{name}.npy" for name in labels}
    for name, array in labels.items():
        np.save(tmp_path / f"{name}.npy", array)
    corpus = Manifest(kind="corpus", entries=[], made_from={}, info={**INFO, **(info or {})})
    task = ImageClassification(corpus, files, ImageModel(width=8, stages=2, **settings))
    task.stage = stage
    return task


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_network_gives_features_of_any_image_by_itself(architecture: str) -> None:
    torch.manual_seed(0)
    network = layers.sequence(ARCHITECTURES[architecture](3, 8, 3, 2))
    images = torch.randn(4, 3, 21, 17)
    found = network(images)
    assert found.shape == (4, 32)
    assert torch.allclose(network(images[2:3])[0], found[2], atol=1e-5)
    assert not list(network.buffers()), "a checkpoint holds weights alone"


# Sixteen bits a channel: preprocessing refuses such an image, so serving does.
DEEP = io.BytesIO()
Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(DEEP, "PNG")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("x!", "not base64"),
        (b64encode(b"GIF89a").decode(), "cannot be decoded"),
        (b64encode(DEEP.getvalue()).decode(), "more than 8 bits a channel"),
    ],
)
def test_what_is_served_refuses_what_is_no_image(given: str, why: str) -> None:
    from mlflow.exceptions import MlflowException

    from modelmill.tasks.image_classification import serve

    served = serve.ImageClassifier()
    served.config = {"size": 8, "channels": 1}
    with pytest.raises(MlflowException, match=why) as refused:
        served._classify(given)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_networks_differ_by_what_they_are_named_for() -> None:
    kinds = {name: {kind for kind, *_ in make(1, 8, 2, 1)} for name, make in ARCHITECTURES.items()}
    assert "concat" in kinds["inception"] and "sum" in kinds["resnet"] and not {"concat", "sum"} & kinds["vgg"]


def test_a_shift_moves_what_is_seen_and_nothing_leaves_an_image_as_it_is() -> None:
    images = torch.zeros(50, 1, 20, 20)
    images[:, :, 9:11, 9:11] = 1
    assert moved(images, 0, 0, 0) is images
    torch.manual_seed(0)
    found = moved(images, 0.2, 0.0, 0.0)
    centres = (found.sum(dim=2)[:, 0] @ torch.arange(20.0)) / found.sum(dim=(1, 2, 3))
    assert 2 < (centres - 9.5).abs().max() <= 4.01
    assert torch.allclose(found.sum(dim=(1, 2, 3)), torch.tensor(4.0), atol=1e-3)


def test_a_quarter_turn_is_that_of_rot90() -> None:
    images = torch.arange(32.0).reshape(2, 1, 4, 4)
    found = rotated(images, torch.tensor([0, 3]))
    assert torch.equal(found[0], images[0]) and torch.equal(found[1], torch.rot90(images[1], 3, dims=(1, 2)))


def test_stages_see_their_own_classes_and_the_body_goes_on(tmp_path: Path) -> None:
    pretraining, tuning = task_of("pretraining", tmp_path), task_of("fine_tuning", tmp_path)
    assert pretraining.examples("pretraining", "train").labels.tolist() == [0, 1, 1]
    assert tuning.examples("fine_tuning", "train").labels.tolist() == [0, 1, 2]
    learned, folder = pretraining.build(), tmp_path / "model"
    folder.mkdir()
    pretraining.save(learned, folder)
    model = tuning.load(folder)
    assert model.head.weight.shape == (3, 16) and learned.head.weight.shape == (2, 16)
    assert all(torch.equal(a, b) for a, b in zip(learned.body.parameters(), model.body.parameters(), strict=True))
    with pytest.raises(UserError, match="its width is 8, the recipe and the corpus want 16"):
        other = task_of("fine_tuning", tmp_path)
        other.settings = ImageModel(width=16, stages=2)
        other.load(folder)


def test_rotations_are_drawn_in_training_and_fixed_in_validation(tmp_path: Path) -> None:
    task = task_of("pretraining", tmp_path, {"other_classes": []})
    examples = task.examples("pretraining", "train")
    batch = examples.batch(np.arange(6))
    assert batch["labels"].tolist() == [0, 1, 2, 3, 0, 1] and task.terms(batch) == 6
    torch.manual_seed(0)
    model = task.build()
    assert task.loss(model.eval(), batch).item() == task.loss(model, batch).item()
    assert task.loss(model.train(), batch).item() != task.loss(model, batch).item()


def no_file(row: int) -> Any:
    raise AssertionError(f"row {row} is fine")


def rows(labels: list[str], splits: list[str]) -> AllRows:
    ids = np.arange(len(labels), dtype=np.uint64)[::-1]
    return AllRows({"label": labels}, np.array(splits), ids, [])


def test_of_each_class_the_first_labels_by_hash_are_seen_and_more_are_added() -> None:
    found = rows(["a", "b", "a", "b", "a", "x", "a"], [*["train"] * 6, "test"])
    seen = []
    for most in (1, 2):
        settings = ImagePreprocessing(labelled_per_class=most, other_classes=["x", "y"])
        _, numbered = number(found, settings, no_file)
        assert numbered.classes == ["a", "b"] and numbered.labels[6] == 0, "held-out labels are all known"
        seen.append({int(one) for one in np.flatnonzero(numbered.labels[:6] >= 0)})
    assert seen == [{4, 3}, {4, 2, 3, 1}] and numbered.others.tolist() == [-1] * 5 + [0, -1]


def test_a_row_of_another_class_is_dropped() -> None:
    found = rows(["a", "q", "b"], ["train"] * 3)
    kept, numbered = number(found, ImagePreprocessing(classes=["a", "b"], unknown_label="drop"), no_file)
    assert kept.numbers is not None
    assert numbered.labels.tolist() == [0, 1] and kept.numbers.tolist() == [0, 2] and len(kept.ids) == 2


def test_an_image_is_cut_to_its_middle() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    assert (fitted(image, 10) == 200).all() and fitted(image, 10).shape == (10, 10, 3)
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    assert np.array_equal(decode(png(grey), 1), grey) and np.array_equal(decode(png(image), 3), image)


def test_the_baseline_is_the_best_linear_model() -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(size=(200, 3)).astype(np.float32)
    split = (features, (features[:, 0] > 0).astype(np.int64))
    loss, accuracy = logistic_regression("numbers", Labelled(split, split, split), 2, {"loss": 0.2, "accuracy": 0.5})
    assert loss.most < 0.2 and accuracy.least > 0.97 and not accuracy.check["passed"]


def test_the_demo_is_500_images_of_each_digit() -> None:
    files = demo.DEMOS["image-classification"](2)
    tables = [data.decode().splitlines() for name, data in files.items() if name.endswith(".csv")]
    rows = [line.split(",") for lines in tables for line in lines[1:]]
    assert [lines[0] for lines in tables] == ["file,label"] * 2 and len(files) == len(rows) + 2
    assert Counter(label for _, label in rows) == {str(digit): 500 for digit in range(10)}
    assert decode(files[rows[0][0]], 1).shape == (28, 28, 1)
