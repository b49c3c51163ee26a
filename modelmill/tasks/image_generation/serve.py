"""Serves a generator of images with PyTorch and Pillow alone: an `image` for each `seed`, a grid of `count` ones."""

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

GROUPS = 8
MOST = 1024


class ImageGenerator(PythonModel):
    """`artifacts["model"]` is a folder with `config.json`, which describes the layers, and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tensors = load_file(folder / "model.safetensors", device=self.device)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A PNG file in base64 a row: the same for the same seed.

        Raises:
            MlflowException: a seed is negative, or a count is not from 1 to 1,024.
        """
        asked = zip(model_input["seed"].tolist(), model_input["count"].tolist(), strict=True)
        return pd.DataFrame({"image": [self._make(int(seed), int(count)) for seed, count in asked]})

    def _make(self, seed: int, count: int) -> str:
        import torch
        from PIL import Image

        if seed < 0 or not 1 <= count <= MOST:
            raise MlflowException.invalid_parameter_value(f"seed must be 0 or more, and count from 1 to {MOST:,}")
        noise = np.random.default_rng(seed).standard_normal((count, self.config["latent"]), np.float32)
        with torch.inference_mode():
            made = run(self.config["generator"], self.tensors, "generator", torch.from_numpy(noise).to(self.device))
        pixels = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        sink = io.BytesIO()
        Image.fromarray(grid(pixels)).save(sink, "PNG")
        return base64.b64encode(sink.getvalue()).decode("ascii")


def grid(images: np.ndarray) -> np.ndarray:
    """Images, uint8, (count, channels, size, size), side by side in about as many rows as columns; what is left over is
    black. (height, width) of grey ones, else (height, width, 3).
    """
    count, channels, size, _ = images.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    places = np.zeros((down * across, channels, size, size), np.uint8)
    places[:count] = images
    whole = places.reshape(down, across, channels, size, size).transpose(0, 3, 1, 4, 2)
    whole = whole.reshape(down * size, across * size, channels)
    return whole[:, :, 0] if channels == 1 else whole


def run(layers: list[list[Any]], tensors: dict[str, Any], name: str, x: Any) -> Any:
    """What a generator makes of a batch.

    Args:
        layers: its description. name: where its weights are among `tensors`.
    """
    import torch.nn.functional as F

    for place, (kind, *given) in enumerate(layers):
        weight: Any = tensors.get(f"{name}.{place}.weight")
        bias: Any = tensors.get(f"{name}.{place}.bias")
        if kind == "linear":
            x = F.linear(x, weight, bias)
        elif kind == "shape":
            x = x.reshape(len(x), *given)
        elif kind == "deconv":
            x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
        elif kind == "norm":
            x = F.group_norm(x, min(GROUPS, given[0]), weight, bias)
        else:
            x = {"relu": F.relu, "tanh": F.tanh}[kind](x)
    return x


set_model(ImageGenerator())
