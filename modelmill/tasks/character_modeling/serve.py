"""Serve a recurrent language model over bytes: the greedy `completion` of each `prompt`."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import load_network, read_json

DEFAULT_NEW_BYTES = 200


class CharacterModel(PythonModel):
    """Recurrent language model, loaded from a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.character_modeling.network import CharacterRNN

        self.warm_up = read_json(context, "config.json")["warm_up"]
        self.network = load_network(context, CharacterRNN)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a completion a row, of at most `params["max_new_bytes"]` bytes, shorter if the document ends."""
        most = int((params or {}).get("max_new_bytes", DEFAULT_NEW_BYTES))
        return pd.DataFrame({"completion": [self._complete(prompt, most) for prompt in model_input["prompt"]]})

    def _complete(self, prompt: str, most: int) -> str:
        from modelmill.tasks.character_modeling.decoding import proceed, text_of

        symbols = np.frombuffer(prompt.encode(), np.uint8)
        # BOUNDARY symbols as in training: the warm-up, and the predecessor of the first byte.
        return text_of(proceed(self.network, symbols, most, self.warm_up + 1))


set_model(CharacterModel())
