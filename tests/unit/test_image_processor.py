"""A checkpoint's image processor: its own output, one size, and what is no processor of images."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoImageProcessor

from modelmill.data.media import image_processor
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.unusable import Unusable

VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 24}}
NO_TORCH = """
import sys
sys.modules["torch"] = None
import numpy as np
from pathlib import Path
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.unusable import Unusable
made = ImageProcessor(Path(sys.argv[1]))
print(made.shape, made(np.zeros((9, 30, 3), np.uint8)).shape)
"""


def folder_of(tmp_path: Path, settings: dict[str, Any], **config: Any) -> Path:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", **config}))
    return tmp_path


def test_what_it_makes_is_what_transformers_makes_of_the_picture(tmp_path: Path) -> None:
    settings = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 30}, "resample": 3}
    folder = folder_of(tmp_path, {**settings, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True})
    pixels = np.random.default_rng(0).integers(0, 256, (50, 71, 3), np.uint8)
    found = ImageProcessor(folder)
    expected = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=pixels, return_tensors="np")
    assert np.array_equal(found(pixels), expected["pixel_values"][0]) and found.shape == (3, 24, 24)
    white = np.full((50, 71, 3), 255, np.uint8)
    assert np.allclose(found(white), np.broadcast_to(found.white, found.shape), atol=1e-5)


def test_it_works_where_there_is_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, str(folder_of(tmp_path, VIT))], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(3, 24, 24) (3, 24, 24)", done.stderr[-500:]


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    grey = {**VIT, "image_mean": [0.5], "image_std": [0.5]}
    found = ImageProcessor(folder_of(tmp_path, grey, num_channels=1))
    assert found.channels == 1 and found(np.zeros((9, 9, 1), np.uint8)).shape == (1, 24, 24)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "no preprocessor_config.json in it"),
        ({"size": 24}, "names no class"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000}, "no image processor"),
        ({"image_processor_type": "NobodysImageProcessor"}, "which transformers does not have"),
        ({"image_processor_type": "ViTImageProcessor", "auto_map": {"AutoImageProcessor": "a.B"}}, "never run"),
        ({**VIT, "size": {"shortest_edge": 24}}, "pictures of several sizes"),
        ({"image_processor_type": "DetrImageProcessor"}, "gives pixel_mask, pixel_values"),
        ({**VIT, "size": {"height": 24}}, "cannot"),
    ],
)
def test_what_does_not_prepare_images_for_a_classifier_is_one_line(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(Unusable, match=why) as refused:
        ImageProcessor(folder_of(tmp_path, settings))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        VIT,
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24}, "crop_pct": 0.875},
        {
            **{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 28}},
            **{"crop_size": {"height": 24, "width": 24}, "do_center_crop": True},
        },
        {"image_processor_type": "ViTFeatureExtractor", "size": 24},
    ],
)
def test_another_size_of_images_is_written_into_its_settings(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "given", settings)
    made = folder_of(tmp_path / "made", json.loads(image_processor.resized(folder, 48)))
    assert ImageProcessor(made).shape == (3, 48, 48)


def test_the_settings_of_a_processor_of_more_than_images_are_found(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": VIT}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert ImageProcessor(tmp_path).shape == (3, 24, 24)
