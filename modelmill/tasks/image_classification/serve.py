"""Serve an image classifier: the `label` of each `image` and its `probability`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, load_network, read_json


class ImageClassifier(PythonModel):
    """Image classifier, loaded from a folder with `model.safetensors` and a `config.json` that describes the layers."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.image_classification import network

        self.config = read_json(context, "config.json")
        self.network = load_network(context, network.ImageClassifier)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable label of each image, and its probability.

        Raises:
            MlflowException: A value is not an image in base64.
        """
        answers = [self._classify(image) for image in model_input["image"]]
        return pd.DataFrame(answers, columns=["label", "probability"])

    def _classify(self, text: str) -> tuple[str, float]:
        import torch

        from modelmill.data.media.images import fitted
        from modelmill.tasks.serving.images import pixels_of

        pixels = fitted(pixels_of(text, self.config["channels"]), self.config["size"])
        images = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).to(device_of(self.network))
        with torch.inference_mode():
            probability, best = torch.softmax(self.network(images)[0].double(), dim=0).max(dim=0)
        return self.config["classes"][int(best)], float(probability)


set_model(ImageClassifier())
