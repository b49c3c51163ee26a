"""Serves a recurrent language model over bytes with PyTorch alone: the greedy `completion` of each `prompt`."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

DEFAULT_NEW_BYTES = 200
# What ends a document and stands before its first byte; bytes are 0 to 255.
BOUNDARY = 256


class CharacterModel(PythonModel):
    """`artifacts["model"]` is a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config["type"]]
        recurrent = kind(config["embedding_size"], config["hidden_size"], config["num_layers"], batch_first=True)
        # As in training: the warm-up, and the predecessor of the first byte.
        self.opening = config["warm_up"] + 1
        self.parts = torch.nn.ModuleDict(
            {
                "embedding": torch.nn.Embedding(BOUNDARY + 1, config["embedding_size"]),
                "recurrent": recurrent,
                "head": torch.nn.Linear(config["hidden_size"], BOUNDARY + 1),
            }
        )
        self.parts.load_state_dict(load_file(folder / "model.safetensors"))
        self.parts.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One completion a row, of at most `params["max_new_bytes"]` bytes; it ends where a document would."""
        most = int((params or {}).get("max_new_bytes", DEFAULT_NEW_BYTES))
        return pd.DataFrame({"completion": [self._complete(prompt, most) for prompt in model_input["prompt"]]})

    def _complete(self, prompt: str, most: int) -> str:
        import torch

        given, state, found = [BOUNDARY] * self.opening + list(prompt.encode()), None, bytearray()
        device = next(self.parts.parameters()).device
        with torch.inference_mode():
            while len(found) < most:
                embedded = self.parts["embedding"](torch.tensor([given], device=device))
                hidden, state = self.parts["recurrent"](embedded, state)
                given = [int(self.parts["head"](hidden[0, -1]).argmax())]
                if given[0] == BOUNDARY:
                    break
                found += bytes(given)
        # The last character may have been cut in two.
        return found.decode("utf-8", "replace")


set_model(CharacterModel())
