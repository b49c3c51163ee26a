"""Serve a translator: the `translation` of each `text`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import folder_of
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer
from modelmill.tasks.translation import sides


class Translator(PythonModel):
    """Translator, loaded from a folder for `AutoModelForSeq2SeqLM` with a tokenizer."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from transformers import AutoModelForSeq2SeqLM

        folder = folder_of(context)
        # Only a checkpoint's translator has such a file.
        self.sides = sides.read(folder / sides.FILE) if (folder / sides.FILE).is_file() else None
        if self.sides:
            self.encoder, self.decoder = sides.Encoder(folder, self.sides.source), sides.Decoder(folder, self.sides)
        else:
            self.tokenizer = load_tokenizer(context)
        self.model = load_pretrained(context, AutoModelForSeq2SeqLM)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the translation of each text; a text longer than the model was trained on is cut."""
        return pd.DataFrame({"translation": [self._translate(text) for text in model_input["text"]]})

    def _translate(self, text: str) -> str:
        """Return one translation; texts are not batched, so that no answer depends on the others."""
        import torch

        from modelmill.tasks.translation.decoding import translate, write

        if self.sides:
            read = torch.tensor([self.encoder.cut(text, self.sides.length)])
            return write(self.model, self.decoder, read, torch.ones_like(read))[0]
        config = self.model.config
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.max_position_embeddings - 1]
        return translate(self.model, self.tokenizer, torch.tensor([[*ids, config.eos_token_id]]))[0]


set_model(Translator())
