"""Serves a classifier of texts: the `label` of each `text` and its `probability`. Needs nothing of Modelmill."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class TextClassifier(PythonModel):
    """`artifacts["model"]` is a folder that `AutoModelForSequenceClassification.from_pretrained` loads.

    Its `config.json` says which ids a text is put between and to how many tokens it is cut.
    """

    def load_context(self, context: Any) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForSequenceClassification

        folder = Path(context.artifacts["model"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # As in training: what reads like a special token in a text is plain text.
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The most probable label of each text, and how probable it is."""
        found = [self._classify(text) for text in model_input["text"]]
        return pd.DataFrame(found, columns=["label", "probability"])

    def _classify(self, text: str) -> tuple[str, float]:
        """One text at a time, so that no answer depends on which others were asked."""
        import torch

        config = self.model.config
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.sequence_length - 2]
        framed = torch.tensor([[config.bos_token_id, *ids, config.eos_token_id]], device=self.model.device)
        with torch.no_grad():
            logits = self.model(input_ids=framed, attention_mask=torch.ones_like(framed)).logits
        probability, best = torch.softmax(logits[0].double(), dim=0).max(dim=0)
        return config.id2label[int(best)], float(probability)


set_model(TextClassifier())
