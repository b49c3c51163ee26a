"""Serves a classifier of images with PyTorch and Pillow alone: the `label` of each `image` and its `probability`."""

import base64
import binascii
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

# As in preprocessing.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 89_478_485
GROUPS = 8


class ImageClassifier(PythonModel):
    """`artifacts["model"]` is a folder with `config.json`, which describes the layers, and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tensors = load_file(folder / "model.safetensors", device=self.device)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The most probable label of each image, and how probable it is.

        Raises:
            MlflowException: one is not an image in base64.
        """
        found = [self._classify(image) for image in model_input["image"]]
        return pd.DataFrame(found, columns=["label", "probability"])

    def _classify(self, image: str) -> tuple[str, float]:
        import torch

        pixels = torch.from_numpy(self._pixels(image).transpose(2, 0, 1)[None].astype(np.float32)).to(self.device)
        with torch.inference_mode():
            features = run(self.config["layers"], self.tensors, "body", pixels / 127.5 - 1)
            logits = features @ self.tensors["head.weight"].T + self.tensors["head.bias"]
            probability, best = torch.softmax(logits[0].double(), dim=0).max(dim=0)
        return self.config["classes"][int(best)], float(probability)

    def _pixels(self, text: str) -> np.ndarray:
        """uint8, (size, size, channels): the middle of the image, scaled as in training."""
        from PIL import Image, ImageOps

        size, channels = self.config["size"], self.config["channels"]
        try:
            opened = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=FORMATS)
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError("too many pixels")
            image = ImageOps.exif_transpose(opened).convert({1: "L", 3: "RGB"}[channels])
        except binascii.Error:
            raise MlflowException.invalid_parameter_value("image: not base64 of a file's bytes") from None
        except Exception as error:  # Pillow's decoders raise whatever broken bytes make them
            raise MlflowException.invalid_parameter_value(f"image: cannot be decoded ({error})") from None
        fitted = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC) if image.size != (size, size) else image
        return np.asarray(fitted).reshape(size, size, channels)


def run(layers: list[list[Any]], tensors: dict[str, Any], name: str, x: Any) -> Any:
    """What a network makes of a batch.

    Args:
        layers: its description. name: where its weights are among `tensors`.
    """
    import torch.nn.functional as F

    for place, (kind, *given) in enumerate(layers):
        at = f"{name}.{place}"
        if kind == "conv":
            x = F.conv2d(x, tensors[f"{at}.weight"], stride=given[3], padding=given[2] // 2)
        elif kind == "norm":
            x = F.group_norm(x, min(GROUPS, given[0]), tensors[f"{at}.weight"], tensors[f"{at}.bias"])
        elif kind == "relu":
            x = F.relu(x)
        elif kind == "pool":
            x = F.max_pool2d(x, given[0], given[1], padding=(given[0] - 1) // 2)
        elif kind == "mean":
            x = x.mean(dim=(2, 3))
        else:
            x = _together(kind, [run(one, tensors, f"{at}.{number}", x) for number, one in enumerate(given)])
    return x


def _together(kind: str, made: list[Any]) -> Any:
    import torch

    return sum(made[1:], made[0]) if kind == "sum" else torch.cat(made, dim=1)


set_model(ImageClassifier())
