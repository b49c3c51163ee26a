"""A classifier of images of any family computes in training what transformers computes of each image alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoImageProcessor, AutoModelForImageClassification

from modelmill.components.fine_tuning import lora
from modelmill.core.errors import UserError
from modelmill.data.media import image_processor
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.tasks.image_classification.pretrained import PretrainedImages
from tests.pretrained import vision
from tests.pretrained.vision import FAMILIES, LABELS, SIZES, pictures, task_over


@torch.no_grad()
def reference(checkpoint: Path) -> torch.Tensor:
    """The logits that transformers computes of each picture alone."""
    model = AutoModelForImageClassification.from_pretrained(checkpoint, attn_implementation="eager").eval()
    process = AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
    return torch.cat([model(**process(images=one, return_tensors="pt")).logits for one in pictures()])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_trained_saved_and_loaded_as_transformers_computes_it(name: str, tmp_path: Path) -> None:
    checkpoint, saved = vision.write(tmp_path / "checkpoint", name), tmp_path / "saved"
    task = task_over(tmp_path, checkpoint, labels=[LABELS[2], LABELS[0], LABELS[1]])
    model = task.load(checkpoint).eval()
    assert task.notes["head"] == "the checkpoint's", "the labels are the data's, in another order"
    batch = task.examples("fine_tuning", "train").batch(np.arange(len(SIZES)))
    expected = reference(checkpoint)[:, [2, 0, 1]]
    with torch.no_grad():
        found = task.logits(model, batch["pixel_values"])
        assert (found - expected).abs().max() < 1e-4 * max(1.0, expected.abs().max().item())
        loss = F.cross_entropy(expected, batch["labels"], reduction="sum")
        assert task.loss(model, batch).item() == pytest.approx(loss.item(), rel=1e-4)
    assert task.blocks(model)
    step(task, model, batch)
    saved.mkdir()
    task.save(model, saved)
    with torch.no_grad():
        assert torch.allclose(reference(saved), task.logits(model.eval(), batch["pixel_values"]), atol=1e-4)


def step(task: PretrainedImages, model: Any, batch: dict[str, torch.Tensor]) -> None:
    """A step of training, in which the averages of batch normalisation stay."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    task.loss(model, batch).backward()
    optimizer.step()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.has_linear])
def test_a_family_takes_adapters_and_a_new_head_beside_them(name: str, tmp_path: Path) -> None:
    checkpoint = vision.write(tmp_path / "checkpoint", name)
    task = task_over(tmp_path, checkpoint, labels=["red", "blue"])
    model = task.load(checkpoint)
    settings = AdaptedFineTuning(method="lora", steps=1, learning_rate=0.1)
    adapters = lora.add_adapters(model, settings, task.whole(model))
    batch = task.examples("fine_tuning", "train").batch(np.arange(2))
    step(task, model, batch)
    merged = adapters.merge(lambda one: task.logits(one, batch["pixel_values"]))
    assert merged.config.id2label == {0: "red", 1: "blue"}


@pytest.mark.parametrize("name", ["efficientnet", "resnet"])
def test_networks_with_random_weights_begin_with_averages_of_their_images(name: str, tmp_path: Path) -> None:
    checkpoint = vision.write(tmp_path / "checkpoint", name)
    task = task_over(tmp_path, checkpoint)
    model = task.build()
    averages = {name: buffer for name, buffer in model.named_buffers() if name.endswith("running_var")}
    assert averages and all(not torch.allclose(one, torch.ones_like(one)) for one in averages.values())
    values = task.examples("fine_tuning", "train").batch(np.arange(2))["pixel_values"]
    with torch.no_grad():
        assert task.logits(model.eval(), values).diff(dim=0).abs().max() > 1e-3, "an image makes a difference"
    assert not any(module.training for module in model.train().modules() if "BatchNorm" in type(module).__name__)


def test_images_of_another_size_have_interpolated_positions_or_are_refused(tmp_path: Path) -> None:
    for name, refusal in (
        ("vit", None),
        ("deit", None),
        ("resnet", None),
        ("swin", None),
        ("levit", "cannot be called"),
    ):
        checkpoint = vision.write(tmp_path / name, name)
        file = checkpoint / "preprocessor_config.json"
        if name in ("resnet", "levit"):  # one that crops to a fraction, and one that crops
            kind = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
            file.write_text(json.dumps(kind))
        file.write_bytes(image_processor.resized(checkpoint, 48))
        task = task_over(tmp_path / f"{name}-task", checkpoint)
        if refusal:
            with pytest.raises(UserError, match=refusal):
                task.load(checkpoint)
            continue
        assert task.processor.shape == (3, 48, 48)
        model = task.load(checkpoint).eval()
        values = task.examples("fine_tuning", "train").batch(np.arange(2))["pixel_values"]
        with torch.no_grad():
            found = task.logits(model, values)
            more = {"interpolate_pos_encoding": True} if name in ("vit", "deit", "swin") else {}
            assert torch.allclose(found, model(pixel_values=values, **more).logits)


def test_changes_of_images_are_the_same_for_the_same_draws_and_leave_validation_alone(tmp_path: Path) -> None:
    checkpoint = vision.write(tmp_path / "checkpoint")
    changes: dict[str, Any] = {"shift": 0.2, "turn": 20, "zoom": 0.2, "flip": True, "colour": 0.3, "erase": 1.0}
    task = task_over(tmp_path, checkpoint, **changes)
    model = task.load(checkpoint)
    batch = task.examples("fine_tuning", "train").batch(np.arange(4))
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(task.loss(model.train(), batch).item())
    assert losses[0] == losses[1] != losses[2]
    changed = task._augment(batch["pixel_values"])
    assert changed.shape == batch["pixel_values"].shape
    low, high = (torch.from_numpy(one) for one in (task.processor.black, task.processor.white))
    assert (changed >= low - 1e-4).all() and (changed <= high + 1e-4).all()
    assert task.loss(model.eval(), batch).item() == task.loss(model, batch).item()
