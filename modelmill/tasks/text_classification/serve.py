"""Serve a text classifier: the `label` of each `text` and its `probability`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.text import load_pretrained, load_tokenizer


class TextClassifier(PythonModel):
    """Text classifier, loaded from a folder for `AutoModelForSequenceClassification`.

    Its `config.json` holds the ids that frame a text, and the number of tokens to which it is cut.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from transformers import AutoModelForSequenceClassification

        self.tokenizer = load_tokenizer(context)
        self.model = load_pretrained(context, AutoModelForSequenceClassification)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable label of each text, and its probability."""
        answers = [self._classify(text) for text in model_input["text"]]
        return pd.DataFrame(answers, columns=["label", "probability"])

    def _classify(self, text: str) -> tuple[str, float]:
        """Return one label; texts are not batched, so that no answer depends on the others."""
        import torch

        config = self.model.config
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.sequence_length - 2]
        framed = torch.tensor([[config.bos_token_id, *ids, config.eos_token_id]], device=self.model.device)
        with torch.inference_mode():
            logits = self.model(input_ids=framed, attention_mask=torch.ones_like(framed)).logits
        probability, best = torch.softmax(logits[0].double(), dim=0).max(dim=0)
        return config.id2label[int(best)], float(probability)


set_model(TextClassifier())
