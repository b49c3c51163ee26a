"""Serve a detector: `boxes`, `labels` and `scores` of the objects in each `image`."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, load_network, read_json, refusal

CONFIDENCE = 0.3


class Detector(PythonModel):
    """Detector, loaded from a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.image_detection import network

        self.config = read_json(context, "config.json")
        self.network = load_network(context, network.of_config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the boxes of each image, best first: left, top, right and bottom in pixels.

        Boxes whose probability is less than `params["confidence"]` are left out.

        Raises:
            MlflowException: A value is not an image in base64, or is too small.
        """
        least = float((params or {}).get("confidence", CONFIDENCE))
        return pd.DataFrame([self._detect(image, least) for image in model_input["image"]])

    def _detect(self, text: str, least: float) -> dict[str, list[Any]]:
        import torch

        from modelmill.tasks.image_detection import decoding, pictures
        from modelmill.tasks.serving.images import pixels_of

        pixels, side = pixels_of(text), self.config["size"]
        try:
            square, scale = pictures.fit(pixels, side, self.config["small"] == "enlarge")
        except pictures.Unfit as unfit:
            raise refusal(f"image: {unfit}") from None
        with torch.inference_mode():
            heat, sides = self.network(torch.from_numpy(square[None].copy()).to(device_of(self.network)))
        (boxes,) = decoding.decode(heat, sides, least)
        height, width = pixels.shape[:2]
        return {
            "boxes": np.minimum((boxes.boxes / scale).clip(0), [width, height] * 2).round(2).tolist(),
            "labels": [self.config["classes"][label] for label in boxes.labels.tolist()],
            "scores": boxes.scores.tolist(),
        }


set_model(Detector())
