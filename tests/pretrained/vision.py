"""Tiny checkpoints with random weights of classifiers of images, as `save_pretrained` writes them."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageClassification

from modelmill.corpus.example_shards import ShardedWriter
from modelmill.store.manifest import Manifest
from modelmill.tasks.image_classification.pretrained import PretrainedImages
from modelmill.tasks.image_classification.recipe import PretrainedImageModel

TITLE = "Vision: image classification"

SIDE = 32
# Width and height of the pictures of a task.
SIZES = [(40, 64), (64, 40), (33, 33), (90, 50)]
STILL = {"shift": 0, "turn": 0, "zoom": 0}
LABELS = ["cat", "dog", "owl"]
_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_PATCHES = {**_LAYERS, "image_size": SIDE, "patch_size": 8}
_WINDOWS = {"image_size": SIDE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1]}


class Family(NamedTuple):
    """A family: its processor as hubs have it, and settings that make it tiny.

    Attributes:
        processor: Class of the image processor.
        settings: Settings of the configuration.
        has_linear: Whether its blocks have linear layers, which adapters can be added to.
        sizes: Whether images may have another size than the checkpoint's.
    """

    processor: str
    settings: dict[str, Any]
    has_linear: bool = True
    sizes: bool = True


FAMILIES: dict[str, Family] = {
    "beit": Family("BeitImageProcessor", _PATCHES),
    "bit": Family("BitImageProcessor", {**_STAGES, "num_groups": 8, "embedding_size": 8}, has_linear=False),
    "convnext": Family("ConvNextImageProcessor", {**_STAGES, "num_stages": 2}),
    "convnextv2": Family("ConvNextImageProcessor", {**_STAGES, "num_stages": 2}),
    "data2vec-vision": Family("BeitFeatureExtractor", _PATCHES),
    "deit": Family("DeiTImageProcessor", _PATCHES),
    "dinov2": Family("BitImageProcessor", _PATCHES),
    "efficientnet": Family(
        "EfficientNetImageProcessor",
        {
            **{"width_coefficient": 0.0125, "depth_coefficient": 1.0, "hidden_dim": 16, "image_size": SIDE},
            **{"in_channels": [32, 16], "out_channels": [16, 16], "kernel_sizes": [3, 5], "strides": [1, 2]},
            **{"num_block_repeats": [1, 2], "expand_ratios": [1, 2]},
        },
        has_linear=False,
    ),
    "levit": Family(
        "LevitImageProcessor",
        {
            **{"image_size": 64, "hidden_sizes": [16, 16, 16], "num_attention_heads": [1, 1, 1]},
            **{"depths": [1, 1, 1], "key_dim": [8, 8, 8]},
            "down_ops": [["Subsample", 8, 2, 4, 2, 2], ["Subsample", 8, 2, 4, 2, 2]],
        },
        sizes=False,
    ),
    "mobilenet_v1": Family("MobileNetV1ImageProcessor", {"depth_multiplier": 0.1}, has_linear=False),
    "mobilenet_v2": Family("MobileNetV2ImageProcessor", {"depth_multiplier": 0.1}, has_linear=False),
    "poolformer": Family(
        "PoolFormerImageProcessor",
        {
            **{"hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "patch_sizes": [7, 3]},
            **{"strides": [4, 2], "padding": [2, 1]},
        },
        has_linear=False,
    ),
    "regnet": Family("ConvNextImageProcessor", {**_STAGES, "embedding_size": 8, "groups_width": 8}, has_linear=False),
    "resnet": Family(
        "ConvNextImageProcessor", {**_STAGES, "embedding_size": 8, "layer_type": "basic"}, has_linear=False
    ),
    "swin": Family("ViTImageProcessor", {**_WINDOWS, "window_size": 4}),
    "swinv2": Family("ViTImageProcessor", {**_WINDOWS, "window_size": 4}),
    "vit": Family("ViTImageProcessor", _PATCHES),
    "vit_msn": Family("ViTFeatureExtractor", _PATCHES),
}


def model_of(name: str, labels: list[str] | None = None) -> Any:
    """A tiny classifier with random weights, whose averages are not those of a new network."""
    torch.manual_seed(0)
    given = labels or LABELS
    config = transformers.AutoConfig.for_model(name, **FAMILIES[name].settings)
    config.architectures = []  # which of several classes it is, is looked up there
    config.id2label = dict(enumerate(given))
    config.label2id = {label: number for number, label in enumerate(given)}
    model = AutoModelForImageClassification.from_config(config).eval()
    with torch.no_grad():
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        for weight in model.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return model


def processor_of(name: str, side: int = SIDE) -> dict[str, Any]:
    """What `preprocessor_config.json` says: the shorter side scaled and the middle cut, where the class does that."""
    kind = FAMILIES[name].processor
    named = "feature_extractor_type" if kind.endswith("FeatureExtractor") else "image_processor_type"
    side = FAMILIES[name].settings.get("image_size", side)
    square = {"height": side, "width": side}
    size: dict[str, Any] = square
    if kind in ("BitImageProcessor", "LevitImageProcessor", "MobileNetV1ImageProcessor", "MobileNetV2ImageProcessor"):
        size = {"shortest_edge": side * 8 // 7}
    if kind == "ConvNextImageProcessor":
        return {named: kind, "size": {"shortest_edge": side}, "crop_pct": 0.875, "resample": 3}
    if kind == "PoolFormerImageProcessor":
        return {named: kind, "size": {"shortest_edge": side}, "crop_pct": 0.9, "crop_size": square}
    crops = {"crop_size": square} if kind not in ("ViTImageProcessor", "ViTFeatureExtractor") else {}
    return {named: kind, "size": size, **crops, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def write(folder: Path, name: str = "vit", labels: list[str] | None = None) -> Path:
    """A checkpoint of a family, with its processor and a licence."""
    model_of(name, labels).save_pretrained(folder)
    write_processor(folder, name)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


def write_processor(folder: Path, name: str) -> None:
    """The image processor of a family."""
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_of(name)))


def pictures() -> list[Image.Image]:
    """Smooth noise of several sizes."""
    draws = np.random.default_rng(0)
    small = [draws.integers(0, 256, (6, 6, 3), np.uint8) for _ in SIZES]
    return [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, SIZES, strict=True)]


def task_over(folder: Path, checkpoint: Path, labels: list[str] | None = None, **settings: Any) -> PretrainedImages:
    """A task over the pictures for a checkpoint, all of them in the training split; their labels take turns."""
    given = labels or LABELS
    (folder / "train").mkdir(parents=True, exist_ok=True)
    files = {"train/labels.npy": folder / "train" / "labels.npy"}
    np.save(files["train/labels.npy"], np.arange(len(SIZES)) % len(given))
    with ShardedWriter(folder) as writer:
        for number, picture in enumerate(pictures()):
            sink = io.BytesIO()
            picture.save(sink, "PNG")
            writer.add("train", number, {"image": np.frombuffer(sink.getvalue(), np.uint8)})
    files |= writer.files()
    files |= {f"checkpoint/{name}": checkpoint / name for name in ("config.json", "preprocessor_config.json")}
    corpus = Manifest(kind="corpus", info={"model": "auto", "classes": given})
    task = PretrainedImages(corpus, files, PretrainedImageModel(**{**STILL, **settings}))
    task.stage = "fine_tuning"
    return task


def task_of(family: str, folder: Path) -> tuple[PretrainedImages, Path]:
    """See `tests.pretrained`."""
    checkpoint = write(folder / "model", family)
    return task_over(folder, checkpoint), checkpoint
