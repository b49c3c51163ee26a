"""Detectors with the image processors of their families, as checkpoints for object detection."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.corpus.example_shards import ShardedWriter
from modelmill.data.media.images import png
from modelmill.store.manifest import Manifest
from modelmill.tasks.image_detection.pretrained import PretrainedDetection
from modelmill.tasks.image_detection.recipe import PretrainedDetector
from tests.pretrained import tiny

TITLE = "Detectors: object detection"
HEAD = "AutoModelForObjectDetection"
CLASSES = ["cat", "dog", "owl"]
SIDE = 64
_STAGES: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}
_RESNET = {"model_type": "resnet", "layer_type": "basic", "out_features": ["stage4"], **_STAGES}
_SIZES = {"layers": 2, "ffn_dim": 16, "attention_heads": 2}
_BOTH = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in _SIZES.items()}
_DETR = {"d_model": 16, "num_queries": 7, "auxiliary_loss": True, "backbone_config": _RESNET, **_BOTH}
_LEVELS: dict[str, Any] = {
    "backbone_config": {"model_type": "rt_detr_resnet", "layer_type": "basic", "out_indices": [2, 3, 4], **_STAGES},
    "encoder_in_channels": [16, 16, 16],
    "encoder_hidden_dim": 16,
    "decoder_in_channels": [16, 16, 16],
    "d_model": 16,
    "num_queries": 7,
    "num_denoising": 6,
    "hidden_expansion": 0.5,
    **(_BOTH | {"encoder_layers": 1}),
}
_HGNET: dict[str, Any] = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 16, 16],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 8, 16, 16],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [8, 16, 16, 16],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "out_indices": [2, 3, 4],
}
_YOLOS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
_YOLOS |= {"image_size": [SIDE, SIDE], "num_detection_tokens": 7, "use_mid_position_embeddings": False}
_VIT: dict[str, Any] = {
    "model_type": "lw_detr_vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_VIT |= {"image_size": 64, "pretrain_image_size": 64, "num_windows": 4, "window_block_indices": [0], "mlp_ratio": 1}
_VIT |= {"out_indices": [1, 2]}
_LW: dict[str, Any] = {"d_model": 16, "num_queries": 7, "group_detr": 2, "decoder_layers": 2, "decoder_ffn_dim": 16}
_LW |= {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "projector_scale_factors": [1.0]}

# By `model_type`: the configuration, and the image processor that its checkpoints have.
_MADE: dict[str, tuple[dict[str, Any], str]] = {
    "detr": (_DETR, "DetrImageProcessor"),
    "conditional_detr": (_DETR, "ConditionalDetrImageProcessor"),
    "dab-detr": ({**_DETR, "hidden_size": 16, "d_model": None}, "ConditionalDetrImageProcessor"),
    "table-transformer": (_DETR, "DetrImageProcessor"),
    "deformable_detr": (
        {
            **_DETR,
            "d_model": 32,
            "backbone_config": _RESNET | {"out_features": ["stage3", "stage4"]},
            "num_feature_levels": 2,
        },
        "DeformableDetrImageProcessor",
    ),
    "rt_detr": (_LEVELS, "RTDetrImageProcessor"),
    "rt_detr_v2": (_LEVELS, "RTDetrImageProcessor"),
    "d_fine": ({**_LEVELS, "backbone_config": _HGNET}, "RTDetrImageProcessor"),
    "yolos": (_YOLOS, "YolosImageProcessor"),
    "lw_detr": ({**_LW, "backbone_config": _VIT}, "DeformableDetrImageProcessor"),
}


FAMILIES = sorted(_MADE)
# Whose processors make squares.
SQUARE = ("d_fine", "lw_detr", "rt_detr", "rt_detr_v2")


def write(family: str, folder: Path, classes: list[str] | None = None, side: int = SIDE, **changes: Any) -> Path:
    """A checkpoint as a hub lays it out."""
    from transformers import AutoConfig

    settings, processor = _MADE[family]
    named = dict(enumerate(CLASSES if classes is None else classes))
    given = {name: value for name, value in (settings | changes).items() if value is not None}
    config = AutoConfig.for_model(family, **given, id2label=named, label2id={name: n for n, name in named.items()})
    folder.mkdir(parents=True, exist_ok=True)
    tiny.model_of(HEAD, config).save_pretrained(folder)
    write_processor(folder, processor, side, is_square=family in SQUARE)
    return folder


def task_of(family: str, folder: Path) -> tuple[PretrainedDetection, Path]:
    """See `tests.pretrained`."""
    model = write(family, folder / "model")
    return task_over(model, folder), model


def task_over(model: Path, folder: Path, classes: list[str] = CLASSES) -> PretrainedDetection:
    """A task over four pictures of two sizes, with up to three objects, for a checkpoint."""
    random = np.random.default_rng(0)
    with ShardedWriter(folder / "examples") as writer:
        for number, size in enumerate([(60, 80), (80, 60)] * 2):
            pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            low = random.uniform(0, 30, (number, 2))
            values = {
                "file": np.frombuffer(png(pixels), np.uint8),
                "size": np.array(size),
                "boxes": np.hstack([low, low + random.uniform(5, 25, (number, 2))]).astype(np.float32),
                "labels": random.integers(len(classes), size=number),
            }
            writer.add("train", number, values)
    files = {f"checkpoint/{name}": model / name for name in ("config.json", "preprocessor_config.json")}
    info = {"model": "auto", "classes": classes}
    return PretrainedDetection(Manifest(kind="corpus", info=info), files | writer.files(), PretrainedDetector())


def write_processor(folder: Path, name: str, side: int = SIDE, is_square: bool = False) -> None:
    """The description of an image processor, as hubs have it."""
    size = {"height": side, "width": side} if is_square else {"shortest_edge": side * 3 // 4, "longest_edge": side}
    described = {"image_processor_type": name, "do_resize": True, "size": size, "do_rescale": True, "resample": 2}
    described |= {"do_normalize": not name.startswith("RTDetr"), "do_pad": not is_square, "format": "coco_detection"}
    described |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
