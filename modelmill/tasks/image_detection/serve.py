"""Serves a detector with PyTorch and Pillow alone: `boxes`, `labels` and `scores` of the objects in each `image`."""

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

# As in training.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 89_478_485
GREY, GROUPS, STRIDE, MOST = 128, 8, 4, 100
CONFIDENCE = 0.3


class Detector(PythonModel):
    """`artifacts["model"]` is a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tensors = load_file(folder / "model.safetensors", device=self.device)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Of each image the boxes (left, top, right and bottom in pixels) whose probability is `params["confidence"]`
        at least, best first.

        Raises:
            MlflowException: one is not an image in base64, or is too small.
        """
        least = float((params or {}).get("confidence", CONFIDENCE))
        return pd.DataFrame([self._find(image, least) for image in model_input["image"]])

    def _find(self, text: str, least: float) -> dict[str, list[Any]]:
        import torch
        import torch.nn.functional as F

        image = _image(text)
        square, scale = self._fit(image)
        with torch.inference_mode():
            heat, sides = self._maps(torch.from_numpy(square.transpose(2, 0, 1)[None].copy()).to(self.device))
            surest, labels = heat.sigmoid()[0].max(0)
            is_peak = F.max_pool2d(surest[None, None], 3, 1, 1)[0, 0] == surest
            scores, cells = (surest * is_peak).flatten().topk(min(MOST, surest.numel()))
            cells = cells[scores >= least]
            rows, columns = cells // surest.shape[1], cells % surest.shape[1]
            middle = (torch.stack([columns, rows]) + 0.5) * STRIDE
            reach = sides[0].flatten(1)[:, cells]
            boxes = torch.cat([middle - reach[:2], middle + reach[2:]]).T.double().cpu().numpy() / scale
        boxes = np.minimum(boxes.clip(0), [image.width, image.height] * 2)
        return {
            "boxes": boxes.round(2).tolist(),
            "labels": [self.config["classes"][number] for number in labels.flatten()[cells].tolist()],
            "scores": scores[: len(cells)].double().tolist(),
        }

    def _fit(self, image: Any) -> tuple[np.ndarray, float]:
        """As preprocessing does it: uint8, (size, size, 3), and by what the image was scaled."""
        from PIL import Image

        side = self.config["size"]
        scale = side / max(image.size)
        if scale > 1 and self.config["small"] != "enlarge":
            raise MlflowException.invalid_parameter_value(
                f"image: {image.width} x {image.height} pixels, less than the network's field of {side} x {side}"
            )
        size = tuple(max(1, round(extent * scale)) for extent in image.size)
        square = Image.new("RGB", (side, side), (GREY,) * 3)
        square.paste(image.resize(size, Image.Resampling.BILINEAR) if scale != 1 else image)
        return np.asarray(square), scale

    def _maps(self, images: Any) -> tuple[Any, Any]:
        """The network of training."""
        import torch.nn.functional as F

        x = self._layers((images.float() - 128) / 64, "stem", (2, 2))
        x = x + self._layers(x, "fine", (1, 1))
        coarse = F.interpolate(self._layers(x, "coarse", (2, 1, 1)), scale_factor=2.0)
        x = self._layers(x + coarse, "merge", (1,))
        heat, sides = (F.conv2d(x, self.tensors[f"{n}.weight"], self.tensors[f"{n}.bias"]) for n in ("heat", "sides"))
        return heat, STRIDE * sides.clamp(-4, 4).exp()

    def _layers(self, x: Any, name: str, strides: tuple[int, ...]) -> Any:
        import torch.nn.functional as F

        for place, stride in enumerate(strides):
            kernel = self.tensors[f"{name}.{place}.0.weight"]
            x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
            norm = (self.tensors[f"{name}.{place}.1.{part}"] for part in ("weight", "bias"))
            x = F.relu(F.group_norm(x, GROUPS, *norm))
        return x


def _image(text: str) -> Any:
    from PIL import Image, ImageOps

    try:
        opened = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=FORMATS)
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        return ImageOps.exif_transpose(opened).convert("RGB")
    except binascii.Error:
        raise MlflowException.invalid_parameter_value("image: not base64 of a file's bytes") from None
    except Exception as error:  # Pillow's decoders raise whatever broken bytes make them
        raise MlflowException.invalid_parameter_value(f"image: cannot be decoded ({error})") from None


set_model(Detector())
