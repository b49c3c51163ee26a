"""Serve a text classifier: the `label` of each `text` and its `probability`, its `labels`, or a `value`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import read_json
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer
from modelmill.tasks.text_classification.framing import framed

# The least probability of one of any number of labels.
THRESHOLD = 0.5


class TextClassifier(PythonModel):
    """Text classifier, loaded from a folder for `AutoModelForSequenceClassification`.

    Its `config.json` holds the number of tokens to which a text is cut, and the ids that frame it, or that the
    tokenizer does that (`rendering`); the kind of label (`problem_type`); and whether texts are pairs.
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
        """Return the answer to each text, or pair of texts."""
        columns = ["text", "text_pair"] if getattr(self.model.config, "text_pair", False) else ["text"]
        return pd.DataFrame([self._answer(texts) for texts in model_input[columns].itertuples(index=False, name=None)])

    def _answer(self, texts: tuple[str, ...]) -> dict[str, Any]:
        """Return one answer; texts are not batched, so that no answer depends on the others."""
        import torch

        config = self.model.config
        inputs = {name: torch.tensor([row], device=self.model.device) for name, row in self._inputs(texts).items()}
        with torch.inference_mode():
            logits = self.model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).logits[0].double()
        if config.problem_type == "regression":
            mean, deviation = config.label_scale
            return {"value": mean + deviation * float(logits[0])}
        if config.problem_type == "multi_label_classification":
            every = torch.sigmoid(logits).tolist()
            found = [number for number, probability in enumerate(every) if probability >= THRESHOLD]
            return {"labels": [config.id2label[n] for n in found], "probabilities": [every[n] for n in found]}
        probability, best = torch.softmax(logits, dim=0).max(dim=0)
        return {"label": config.id2label[int(best)], "probability": float(probability)}

    def _inputs(self, texts: tuple[str, ...]) -> dict[str, list[int]]:
        config = self.model.config
        if self._renders():
            encoded = self.tokenizer.encode(*texts)
            return {"input_ids": encoded.ids} | ({"token_type_ids": encoded.type_ids} if config.takes_types else {})
        ids = [self.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        made = framed(ids, config.sequence_length, config.bos_token_id, config.eos_token_id)
        return {"input_ids": made.ids} | ({"token_type_ids": made.types} if len(texts) > 1 else {})

    def _renders(self) -> bool:
        """Return whether the tokenizer puts the special tokens around a text, as a checkpoint's own does."""
        return getattr(self.model.config, "rendering", None) == "tokenizer"


set_model(TextClassifier())
