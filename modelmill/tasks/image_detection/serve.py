"""Serve a detector: `boxes`, `labels` and `scores` of the objects in each `image`."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.image_detection import processor
from modelmill.tasks.serving.model import device_of, folder_of, load_network, on_device, read_json, refusal

CONFIDENCE = 0.3


class Detector(PythonModel):
    """Detector, loaded from a folder with `config.json` and weights and, of a checkpoint's, its image processor."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        self.config = read_json(context, "config.json")
        self.processor = None
        if "model_type" in self.config:
            from transformers import AutoModelForObjectDetection

            folder = folder_of(context)
            self.processor = processor.load(folder)
            self.network = on_device(AutoModelForObjectDetection.from_pretrained(folder, local_files_only=True))
            return
        from modelmill.tasks.image_detection import network

        self.network = load_network(context, network.of_config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the boxes of each image, best first: left, top, right and bottom in pixels.

        Boxes whose probability is less than `params["confidence"]` are left out.

        Raises:
            MlflowException: A value is not an image in base64, or is too small.
        """
        least = float((params or {}).get("confidence", CONFIDENCE))
        detect = self._detect if self.processor is None else self._detect_as_processed
        return pd.DataFrame([detect(image, least) for image in model_input["image"]])

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

    def _detect_as_processed(self, text: str, least: float) -> dict[str, list[Any]]:
        import torch

        from modelmill.tasks.serving.images import pixels_of

        pixels, device = pixels_of(text), device_of(self.network)
        prepared = processor.prepare(self.processor, pixels)
        given = processor.inputs(self.network, prepared)
        with torch.inference_mode():
            said = self.network(**{name: torch.from_numpy(one[None]).to(device) for name, one in given.items()})
        ((boxes, labels, scores),) = processor.found(self.processor, said, [prepared.place(pixels)], least)
        return {
            "boxes": boxes.round(2).tolist(),
            "labels": [self.config["id2label"][str(label)] for label in labels.tolist()],
            "scores": scores.tolist(),
        }


set_model(Detector())
