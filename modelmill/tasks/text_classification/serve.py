"""Serve a text classifier: the `label` of each `text` and its `probability`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import read_json
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer


class TextClassifier(PythonModel):
    """Text classifier, loaded from a folder for `AutoModelForSequenceClassification`.

    Its `config.json` holds the number of tokens to which a text is cut, and the ids that frame it or, as `rendering`,
    that the tokenizer frames it.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from transformers import AutoModelForSequenceClassification

        self.tokenizer = load_tokenizer(context)
        self.model = load_pretrained(context, AutoModelForSequenceClassification)
        if self._renders():
            side = read_json(context, "tokenizer_config.json").get("truncation_side", "right")
            self.tokenizer.enable_truncation(self.model.config.sequence_length, direction=side)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most probable label of each text, and its probability."""
        answers = [self._classify(text) for text in model_input["text"]]
        return pd.DataFrame(answers, columns=["label", "probability"])

    def _classify(self, text: str) -> tuple[str, float]:
        """Return one label; texts are not batched, so that no answer depends on the others."""
        import torch

        inputs = {name: torch.tensor([row], device=self.model.device) for name, row in self._inputs(text).items()}
        with torch.inference_mode():
            logits = self.model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).logits
        probability, best = torch.softmax(logits[0].double(), dim=0).max(dim=0)
        return self.model.config.id2label[int(best)], float(probability)

    def _inputs(self, text: str) -> dict[str, list[int]]:
        config = self.model.config
        if self._renders():
            encoded = self.tokenizer.encode(text)
            return {"input_ids": encoded.ids} | ({"token_type_ids": encoded.type_ids} if config.takes_types else {})
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.sequence_length - 2]
        return {"input_ids": [config.bos_token_id, *ids, config.eos_token_id]}

    def _renders(self) -> bool:
        """Return whether the tokenizer puts the special tokens around a text, as a checkpoint's own does."""
        return getattr(self.model.config, "rendering", None) == "tokenizer"


set_model(TextClassifier())
