"""Serves a translator: the `translation` of each `text`. Needs nothing of Modelmill."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Translator(PythonModel):
    """`artifacts["model"]` is a folder that `AutoModelForSeq2SeqLM.from_pretrained` loads, with a tokenizer."""

    def load_context(self, context: Any) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForSeq2SeqLM

        folder = Path(context.artifacts["model"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # As in training: what reads like a special token in a text is plain text.
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        model = AutoModelForSeq2SeqLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A longer text than the model was trained on loses its end."""
        return pd.DataFrame({"translation": [self._translate(text) for text in model_input["text"]]})

    def _translate(self, text: str) -> str:
        """One text at a time, so that no answer depends on which others were asked."""
        import torch

        config = self.model.config
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids[: config.max_position_embeddings - 1]
        read = torch.tensor([[*ids, config.eos_token_id]], device=self.model.device)
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=read,
                attention_mask=torch.ones_like(read),
                max_length=config.max_position_embeddings,
                num_beams=1,
                do_sample=False,
            )
        found: str = self.tokenizer.decode(written[0].tolist(), skip_special_tokens=True)
        return found


set_model(Translator())
