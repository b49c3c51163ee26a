"""Weights in the layout of torchvision and timm become transformers' networks, which give the same logits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForImageClassification

from modelmill.core.errors import UserError
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.models.vision.classifier import VisionConfig, VisionForImageClassification
from modelmill.runtime import weights
from modelmill.runtime.sources import timm
from modelmill.runtime.sources import timm_networks as timm_networks_of_ours
from modelmill.store import open_store
from tests import timm_networks

CLASSES = 7
NETWORKS = {
    "resnet18": (lambda: timm_networks.ResNet("resnet18", CLASSES), 64),
    "resnet50.tv_in1k": (lambda: timm_networks.ResNet("resnet50", CLASSES), 64),
    "tf_efficientnet_b0.ns_jft_in1k": (lambda: timm_networks.EfficientNet(CLASSES), 224),
    "tf_efficientnet_b1": (lambda: timm_networks.EfficientNet(CLASSES, depth=1.1), 240),
    "efficientnet_b0.ra_in1k": (lambda: timm_networks.EfficientNet(CLASSES, pad=timm_networks.even), 224),
    "tf_efficientnet_lite0": (lambda: timm_networks.EfficientNet(CLASSES, is_lite=True), 224),
}


def write(folder: Path, name: str, network: nn.Module | None, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if network is not None:
        save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": CLASSES, **settings}))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_logits_are_those_of_the_network_that_was_saved(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, side = NETWORKS[name]
    network = timm_networks.shaken(make())
    given = write(tmp_path / "given", name, network, pretrained_cfg={"crop_pct": 0.9})
    folder = weights.locate("pretraining.init", str(given), open_store(f"file://{tmp_path}/store"))
    model, report = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    images = torch.randn(2, 3, side, side)
    expected = network(images)
    assert (model.eval()(images).logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert weights.locate("pretraining.init", str(given), open_store(f"file://{tmp_path}/store")) == folder


def test_images_are_prepared_as_the_configuration_says(tmp_path: Path) -> None:
    prepared = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "input_size": [3, 64, 64], "crop_pct": 0.8}
    given = write(tmp_path / "given", "resnet18", None, pretrained_cfg={**prepared, "interpolation": "bilinear"})
    folder = weights.locate_description("preprocessing.processor.from", str(given), open_store(f"file://{tmp_path}/s"))
    processor = ImageProcessor(folder)
    assert processor.shape == (3, 64, 64)
    assert processor.black[:, 0, 0].tolist() == pytest.approx([-0.1 / 0.5, -0.2 / 0.6, -0.3 / 0.7])
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    assert settings["size"] == {"shortest_edge": 80} and settings["resample"] == 2


def test_the_names_of_classes_are_kept(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(CLASSES)]
    folder = timm.ready("here", write(tmp_path / "given", "resnet18", None, label_names=names))
    config = json.loads((folder / "config.json").read_text())
    assert list(config["id2label"].values()) == names and config["label2id"]["class 3"] == 3


def test_large_linear_layers_may_be_convolutions_over_all_pixels() -> None:
    torch.manual_seed(0)
    kernel, features = torch.randn(8, 4, 7, 7), torch.randn(2, 4, 7, 7)
    given = {"pre_logits.fc1.weight": kernel.numpy(), "features.0.weight": kernel.numpy(), "head.fc.bias": np.zeros(3)}
    made = timm_networks_of_ours.of("vgg16", 224, is_timms=True).converted(given)
    assert set(made) == {"network.classifier.0.weight", "network.features.0.weight", "classifier.bias"}
    matrix = torch.from_numpy(made["network.classifier.0.weight"])
    assert torch.allclose(features.flatten(1) @ matrix.T, F.conv2d(features, kernel).flatten(1), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vgg11", 132_863_336),
        ("vgg19_bn", 143_678_248),
        ("inception_v3", 27_161_264 - 3_326_696),
        ("efficientnet_b0", 5_288_548),
        ("efficientnet_b7", 66_347_960),
    ],
)
def test_networks_have_as_many_weights_as_torchvisions(name: str, count: int) -> None:
    """The numbers are those of torchvision's documentation; Inception's is without its auxiliary classifier."""
    with torch.device("meta"):
        model = VisionForImageClassification(VisionConfig(network=name, num_labels=1000))
    assert sum(p.numel() for p in model.parameters()) == count


@torch.no_grad()
def test_inception_takes_the_names_of_torchvision_and_leaves_its_auxiliary_classifier_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = VisionForImageClassification(VisionConfig(network="inception_v3", num_labels=CLASSES)).eval()
    tensors = {name.removeprefix("network."): tensor for name, tensor in given.state_dict().items()}
    tensors = {name.replace("classifier.", "fc."): tensor.clone() for name, tensor in tensors.items()}
    tensors["AuxLogits.fc.weight"] = torch.zeros(3)
    (tmp_path / "given").mkdir()
    save_file(tensors, tmp_path / "given" / "model.safetensors")
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_6b.branch7x7dbl_5.bn.bias", "Mixed_7c.branch3x3dbl_3b.conv.weight"} <= (
        tensors.keys()
    )
    folder = timm.ready("here", write(tmp_path / "given", "inception_v3", None))
    made = AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.randn(1, 3, 96, 96)
    assert torch.equal(made(images).logits, given(images).logits)
    assert ImageProcessor(folder).shape == (3, 299, 299)


def test_another_network_is_refused_with_those_that_can_be_taken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resnet50d in the layout of timm or torchvision cannot be taken") as refused:
        timm.ready("pretraining.init: here", write(tmp_path / "given", "resnet50d", None))
    assert "tf_efficientnet_b0" in str(refused.value) and "\n" not in str(refused.value)


def test_weights_of_another_network_are_refused_by_the_tensor_that_has_no_place(tmp_path: Path) -> None:
    given = write(tmp_path / "given", "tf_efficientnet_b0", timm_networks.ResNet("resnet18", CLASSES))
    with pytest.raises(UserError, match=r"which tf_efficientnet_b0 does not have") as refused:
        timm.ready("here", given)
    assert "conv1.weight" in str(refused.value) or "fc." in str(refused.value) or "layer1" in str(refused.value)


def test_a_network_of_ours_is_none_of_timms(tmp_path: Path) -> None:
    ours = {"architecture": "resnet", "layers": [["mean"]], "classes": ["a", "b"]}
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(ours))
    assert timm.ready("here", folder) == folder
