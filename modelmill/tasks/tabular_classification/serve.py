"""Serves a multilayer perceptron on columns with NumPy alone: the `label` of each row and its `probability`."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from safetensors.numpy import load_file


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": gelu,
    "tanh": np.tanh,
}


class TabularClassifier(PythonModel):
    """`artifacts["model"]` is a folder with `config.json`, `scaler.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        scaler = json.loads((folder / "scaler.json").read_text("utf-8"))
        self.mean, self.scale = np.array(scaler["mean"]), np.array(scaler["scale"])
        tensors = load_file(folder / "model.safetensors")
        layers = range(len(self.config["hidden"]) + 1)
        self.layers = [(tensors[f"layers.{n}.weight"], tensors[f"layers.{n}.bias"]) for n in layers]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The most probable class of each row, and how probable it is."""
        features = model_input[self.config["features"]].to_numpy(dtype=np.float64)
        probabilities = self._probabilities(((features - self.mean) / self.scale).astype(np.float32))
        best = probabilities.argmax(axis=1)
        classes = self.config["classes"]
        return pd.DataFrame(
            {
                "label": [classes[index] for index in best],
                "probability": probabilities[np.arange(len(best)), best].astype(np.float64),
            }
        )

    def _probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Probability of each class, shape (rows, classes); one output is the logit of the second class."""
        activation = ACTIVATIONS[self.config["activation"]]
        for weight, bias in self.layers[:-1]:
            hidden = activation(hidden @ weight.T + bias)
        weight, bias = self.layers[-1]
        logits = hidden @ weight.T + bias
        if logits.shape[1] > 1:
            return softmax(logits)
        positive = sigmoid(logits)
        return np.concatenate([1 - positive, positive], axis=1)


set_model(TabularClassifier())
