"""Serve a classifier of texts: the `label` of each `text` and its `probability`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.text import load_pretrained, load_tokenizer


class TextClassifier(PythonModel):
    """A folder for `AutoModelForSequenceClassification`.

    Its `config.json` says which ids a text is put between and to how many tokens it is cut.
    """

    def load_context(self, context: Any) -> None:
        from transformers import AutoModelForSequenceClassification

        self.tokenizer = load_tokenizer(context)
        self.model = load_pretrained(context, AutoModelForSequenceClassification)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable label of each text, and how probable it is."""
        answers = [self._classify(text) for text in model_input["text"]]
        return pd.DataFrame(answers, columns=["label", "probability"])

    def _classify(self, text: str) -> tuple[str, float]:
        """One text at a time, so that no answer depends on which others were asked."""
        import torch

        config = self.model.config
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.sequence_length - 2]
        framed = torch.tensor([[config.bos_token_id, *ids, config.eos_token_id]], device=self.model.device)
        with torch.inference_mode():
            logits = self.model(input_ids=framed, attention_mask=torch.ones_like(framed)).logits
        probability, best = torch.softmax(logits[0].double(), dim=0).max(dim=0)
        return config.id2label[int(best)], float(probability)


set_model(TextClassifier())
