"""Serve a SASRec: the items that follow each history, best first."""

import json
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, load_network, read_json, refusal

DEFAULT_TOP = 10


class Recommender(PythonModel):
    """Recommender, loaded from a folder with `config.json`, `catalogue.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.recommendation.network import of_config

        catalogue = read_json(context, "catalogue.json")
        self.length = read_json(context, "config.json")["sequence_length"]
        self.items: list[str] = catalogue["items"]
        self.numbers = {item: number for number, item in enumerate(self.items, 1)}
        self.refuses = catalogue["unknown_items"] == "refuse"
        self.popular = np.log(np.array(catalogue["interactions"], np.float64) + 1)
        self.network = load_network(context, of_config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the `items` that follow each history, their `scores`, and the items of the history that are `unknown`.

        Scores are natural logarithms of probabilities. A history without a known item is followed by the most popular
        items.

        Raises:
            MlflowException: A history is not one, or has an unknown item and the recipe refuses that.
        """
        top = int((params or {}).get("top", DEFAULT_TOP))
        return pd.DataFrame([self._answer(history, top) for history in model_input["history"]])

    def _answer(self, history: str, top: int) -> dict[str, list[Any]]:
        given = parse(history)
        unknown = [item for item in given if item not in self.numbers]
        if unknown and self.refuses:
            raise refusal(
                f"history: item {unknown[0]!r} is not in the catalogue of {len(self.items):,} items, and the recipe "
                "refuses unknown ones (preprocessing.unknown_items)"
            )
        known = np.array([self.numbers[item] for item in given if item in self.numbers], np.int64)
        scores = self._scores(known) if len(known) else self.popular
        scores = scores - np.logaddexp.reduce(scores)
        scores[known - 1] = -np.inf
        best = [n for n in np.argsort(-scores, kind="stable")[: max(0, top)].tolist() if np.isfinite(scores[n])]
        return {"items": [self.items[n] for n in best], "scores": [float(scores[n]) for n in best], "unknown": unknown}

    def _scores(self, known: np.ndarray) -> np.ndarray:
        """Return the logits of the catalogue, float64, (items,), after these items, numbered from 1 on."""
        import torch

        from modelmill.tasks.recommendation.network import window

        with torch.inference_mode():
            items = torch.from_numpy(window(known, self.length)).to(device_of(self.network))
            scores: np.ndarray = self.network(items)[0].double().cpu().numpy()
        return scores


def parse(history: str) -> list[str]:
    """Return the item ids of a JSON list, or of text with commas between them.

    Raises:
        MlflowException: The text begins like JSON and is not a list of texts or numbers.
    """
    if not history.lstrip().startswith("["):
        return [item.strip() for item in history.split(",") if item.strip()]
    try:
        ids = json.loads(history)
    except ValueError as error:
        raise refusal(f"history: not JSON ({error}); write a list of item ids, or ids with commas between") from None
    wrong = [one for one in ids if isinstance(one, bool) or not isinstance(one, str | int)]
    if wrong:
        raise refusal(f"history: {wrong[0]!r} is not an item id; write a list of texts or whole numbers")
    return [str(one) for one in ids]


set_model(Recommender())
