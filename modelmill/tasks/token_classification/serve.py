"""Serve a model that finds entities: the `entities` in each `text`, with their places."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer
from modelmill.tasks.token_classification import bio, splitting, windows


class TokenClassifier(PythonModel):
    """Token classifier, loaded from a folder for `AutoModelForTokenClassification`.

    Its `config.json` holds the tags, the number of tokens that a window has, and how texts are split into words.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from transformers import AutoModelForTokenClassification

        self.tokenizer = load_tokenizer(context)
        self.model = load_pretrained(context, AutoModelForTokenClassification)
        labels = self.model.config.id2label
        self.names = [labels[number] for number in range(len(labels))]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the entities of each text in order, each with the probability of its least sure word."""
        return pd.DataFrame({"entities": [self._find(text) for text in model_input["text"]]})

    def _find(self, text: str) -> list[dict[str, Any]]:
        words = splitting.split(text, self.model.config.word_splitting)
        if not words:
            return []
        scores = self.scores([word.text for word in words])
        tags = bio.decode(scores, self.names)
        probabilities = np.exp(scores[np.arange(len(tags)), tags])
        found = []
        for entity in bio.entities([self.names[tag] for tag in tags]):
            start, end = words[entity.first].start, words[entity.end - 1].end
            score = float(probabilities[entity.first : entity.end].min())
            found.append({"kind": entity.kind, "text": text[start:end], "start": start, "end": end, "score": score})
        return found

    def scores(self, words: list[str]) -> np.ndarray:
        """Return logarithms of the tags' probabilities of each word: float64, (words, tags).

        Windows are not batched, so that no answer depends on other texts.
        """
        import torch

        parts = []
        for window in windows.windows(self.tokenizer, words, self.model.config.sequence_length):
            ids = torch.tensor([window.ids], device=device_of(self.model))
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            tokens = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
            parts.append(bio.of_words(tokens, np.array(window.places), self.names))
        return np.concatenate(parts)


set_model(TokenClassifier())
