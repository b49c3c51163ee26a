"""Serves a SASRec with NumPy alone: the items that follow each history, best first."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from safetensors.numpy import load_file

DEFAULT_TOP = 10
EPSILON = 1e-5


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


class Recommender(PythonModel):
    """`artifacts["model"]` is a folder with `config.json`, `catalogue.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        catalogue = json.loads((folder / "catalogue.json").read_text("utf-8"))
        self.items: list[str] = catalogue["items"]
        self.numbers = {item: number for number, item in enumerate(self.items, 1)}
        self.refuses = catalogue["unknown_items"] == "refuse"
        self.popular = np.log(np.array(catalogue["interactions"], np.float64) + 1)
        self.tensors = load_file(folder / "model.safetensors")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Of each row the `items` that follow, their `scores` (natural logarithms of probabilities, more is better),
        and what of its history is `unknown`. Without a known item the most popular follow.

        Raises:
            MlflowException: a history is not one, or has an unknown item and the recipe refuses such.
        """
        top = int((params or {}).get("top", DEFAULT_TOP))
        return pd.DataFrame([self._answer(history, top) for history in model_input["history"]])

    def _answer(self, history: str, top: int) -> dict[str, list[Any]]:
        given = parse(history)
        unknown = [item for item in given if item not in self.numbers]
        if unknown and self.refuses:
            raise MlflowException.invalid_parameter_value(
                f"history: item {unknown[0]!r} is not in the catalogue of {len(self.items):,} items, and the recipe "
                "refuses unknown ones (preprocessing.unknown_items)"
            )
        known = np.array([self.numbers[item] for item in given if item in self.numbers], np.int64)
        scores = self._scores(known) if len(known) else self.popular
        scores = np.log(softmax(scores.astype(np.float64)))
        scores[known - 1] = -np.inf
        best = [n for n in np.argsort(-scores, kind="stable")[: max(0, top)].tolist() if np.isfinite(scores[n])]
        return {"items": [self.items[n] for n in best], "scores": [float(scores[n]) for n in best], "unknown": unknown}

    def _scores(self, known: np.ndarray) -> np.ndarray:
        """Logits of the whole catalogue after these items, as training computed them. What is padding there is looked
        at by no item, so it is left out here.
        """
        known = known[-self.config["sequence_length"] :]
        hidden = self.tensors["items.weight"][known] + self.tensors["places.weight"][-len(known) :]
        causal = np.where(np.tri(len(known), dtype=bool), np.float32(0), np.float32(-np.inf))
        for number in range(self.config["num_hidden_layers"]):
            block = f"blocks.{number}"
            hidden = hidden + self._attention(self._norm(hidden, f"{block}.attention_norm"), block, causal)
            inner = self._linear(self._norm(hidden, f"{block}.network_norm"), f"{block}.inner")
            hidden = hidden + self._linear(np.maximum(inner, 0), f"{block}.outer")
        return self.tensors["items.weight"][1:] @ self._norm(hidden[-1], "norm")

    def _attention(self, hidden: np.ndarray, block: str, causal: np.ndarray) -> np.ndarray:
        length, width = hidden.shape
        heads = self.config["num_attention_heads"]
        split = self._linear(hidden, f"{block}.attended").reshape(length, 3, heads, width // heads)
        query, key, value = split.transpose(1, 2, 0, 3)
        weights = softmax(query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(width // heads)) + causal)
        return self._linear((weights @ value).transpose(1, 0, 2).reshape(length, width), f"{block}.out")

    def _linear(self, hidden: np.ndarray, name: str) -> np.ndarray:
        return hidden @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _norm(self, hidden: np.ndarray, name: str) -> np.ndarray:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return centred / scale * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def parse(history: str) -> list[str]:
    """Item ids from a JSON list, or from text with commas between them.

    Raises:
        MlflowException: it begins like JSON and is not a list of texts or numbers.
    """
    if not history.lstrip().startswith("["):
        return [item.strip() for item in history.split(",") if item.strip()]
    try:
        found = json.loads(history)
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(
            f"history: not JSON ({error}); write a list of item ids, or ids with commas between"
        ) from None
    wrong = [one for one in found if isinstance(one, bool) or not isinstance(one, str | int)]
    if wrong:
        raise MlflowException.invalid_parameter_value(
            f"history: {wrong[0]!r} is not an item id; write a list of texts or whole numbers"
        )
    return [str(one) for one in found]


set_model(Recommender())
