"""Serve a multilayer perceptron on columns: the `label` of each row and its `probability`."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, load_network, read_json


class TabularClassifier(PythonModel):
    """Classifier of rows, loaded from a folder with `config.json`, `scaler.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.tabular_classification.network import MLP

        self.config, scaler = read_json(context, "config.json"), read_json(context, "scaler.json")
        self.mean, self.scale = np.array(scaler["mean"]), np.array(scaler["scale"])
        self.network = load_network(context, MLP)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable class of each row, and its probability."""
        import torch

        from modelmill.tasks.tabular_classification.network import probabilities

        features = model_input[self.config["features"]].to_numpy(dtype=np.float64)
        standardised = torch.from_numpy(((features - self.mean) / self.scale).astype(np.float32))
        with torch.inference_mode():
            probability, best = probabilities(self.network(standardised.to(device_of(self.network)))).max(dim=1)
        labels = [self.config["classes"][index] for index in best.tolist()]
        return pd.DataFrame({"label": labels, "probability": probability.double().cpu().numpy()})


set_model(TabularClassifier())
