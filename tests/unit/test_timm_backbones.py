"""Detectors with timm's backbone, laid out with transformers' own: the same features of the same weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from modelmill.core.errors import UserError
from modelmill.runtime.sources import timm_backbones
from tests.pretrained import detectors

PREFIX = "model.backbone.conv_encoder.model."
Weights = dict[str, torch.Tensor]


def random_weights() -> Weights:
    """Those of a ResNet-18 by the names of timm and torchvision, small ones, so that no signal grows."""
    made: Weights = {}

    def add(convolution: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        made[f"{convolution}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        for name in ("weight", "bias", "running_mean", "running_var"):
            made[f"{norm}.{name}"] = torch.rand(outputs) * 0.5 + 0.5

    add("conv1", "bn1", 64, 3, 7)
    for stage in range(1, 5):
        width, inputs = 32 << stage, max(64, 16 << stage)
        for block in range(2):
            name = f"layer{stage}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", width, width if block else inputs, 3)
            add(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            if stage > 1 and not block:
                add(f"{name}.downsample.0", f"{name}.downsample.1", width, inputs, 1)
    return made


def features(images: torch.Tensor, weights: Weights) -> torch.Tensor:
    """What torchvision's ResNet-18 computes."""

    def layer(x: torch.Tensor, convolution: str, norm: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        x = F.conv2d(x, weights[f"{convolution}.weight"], stride=stride, padding=padding)
        mean, variance, scale, shift = (
            weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, scale, shift)

    x = F.max_pool2d(layer(images, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            inner = layer(x, f"{name}.conv1", f"{name}.bn1", stride, 1).relu()
            inner = layer(inner, f"{name}.conv2", f"{name}.bn2", 1, 1)
            if f"{name}.downsample.0.weight" in weights:
                x = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = (x + inner).relu()
    return x


def write_with_timm(folder: Path, weights: Weights, **changes: Any) -> Path:
    """DETR as it was published: its configuration names timm's backbone."""
    detectors.write("detr", folder)
    tensors = load_file(folder / "model.safetensors")
    rest = {name: one for name, one in tensors.items() if ".backbone." not in name}
    rest["model.input_projection.weight"] = torch.randn(16, 512, 1, 1)
    save_file(rest | {PREFIX + name: one for name, one in weights.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config |= {"backbone_config": None, "use_timm_backbone": True, "backbone": "resnet18", "dilation": False}
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_backbone_of_timm_computes_what_torchvisions_does(tmp_path: Path) -> None:
    from transformers import AutoModelForObjectDetection

    torch.manual_seed(0)
    weights = random_weights()
    folder = write_with_timm(tmp_path / "published", weights)
    made = timm_backbones.ready("init: published", folder)
    assert made != folder and timm_backbones.ready("init: published", folder) == made
    assert (made / "preprocessor_config.json").is_file()
    model, report = AutoModelForObjectDetection.from_pretrained(made, output_loading_info=True)
    assert not any(report.values())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        ((found, _),) = model.model.backbone(images, torch.ones(2, 64, 96))
    assert torch.allclose(found, features(images, weights), atol=1e-4)


def test_what_needs_no_timm_is_left_where_it_is(tmp_path: Path) -> None:
    for kind in ("detr", "yolos"):
        folder = detectors.write(kind, tmp_path / kind)
        assert timm_backbones.ready("init: here", folder) == folder


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backbone": "swin_tiny"}, "its backbone is timm's swin_tiny, and transformers has none"),
        ({"dilation": True}, "its backbone is timm's resnet18 with dilation"),
    ],
)
def test_a_backbone_that_transformers_does_not_have_is_refused(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    folder = write_with_timm(tmp_path / "published", {}, **changes)
    with pytest.raises(UserError, match=why) as refused:
        timm_backbones.ready("init: published", folder)
    assert "\n" not in str(refused.value)
