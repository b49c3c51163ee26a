"""Serve an image classifier: the `label` of each `image` and its `probability`."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, folder_of, load_network, on_device, read_json

# The type of networks that transformers does not have, and that are shipped with this script.
VISION = "modelmill_vision"


class ImageClassifier(PythonModel):
    """Image classifier, loaded from a folder with `model.safetensors` and a `config.json` that describes the network.

    It describes layers, or is one of transformers', with its image processor in `preprocessor_config.json`.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.image_classification import network

        self.config = read_json(context, "config.json")
        self.processor: Any = None
        if "layers" in self.config:
            self.network = load_network(context, network.ImageClassifier)
        else:
            self._load_checkpoint(folder_of(context))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable label of each image, and its probability.

        Raises:
            MlflowException: A value is not an image in base64.
        """
        answers = [self._classify(image) for image in model_input["image"]]
        return pd.DataFrame(answers, columns=["label", "probability"])

    def _load_checkpoint(self, folder: Path) -> None:
        from transformers import AutoModelForImageClassification

        from modelmill.data.media.image_processor import ImageProcessor

        if self.config["model_type"] == VISION:
            from modelmill.models.vision import classifier  # noqa: F401 - transformers knows it from now on

        loaded = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.network = on_device(loaded.float())
        self.processor = ImageProcessor(folder)
        labels = self.config["id2label"]
        self.config = {"channels": self.processor.channels, "classes": [labels[n] for n in sorted(labels, key=int)]}

    def _classify(self, text: str) -> tuple[str, float]:
        import torch

        from modelmill.tasks.serving.images import pixels_of

        pixels = pixels_of(text, self.config["channels"])
        with torch.inference_mode():
            probability, best = torch.softmax(self._logits(pixels)[0].double(), dim=0).max(dim=0)
        return self.config["classes"][int(best)], float(probability)

    def _logits(self, pixels: Any) -> Any:
        """Return the logits of an image, (1, classes)."""
        import torch

        from modelmill.data.media.images import fitted
        from modelmill.tasks.image_classification.sizes import size_arguments

        where = device_of(self.network)
        if self.processor is not None:
            values = torch.from_numpy(self.processor(pixels)[None]).to(where)
            return self.network(pixel_values=values, **size_arguments(self.network, values.shape[-2:])).logits
        square = fitted(pixels, self.config["size"])
        return self.network(torch.from_numpy(square.transpose(2, 0, 1)[None].copy()).to(where))


set_model(ImageClassifier())
