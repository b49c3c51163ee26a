"""Serve a causal language model: the greedy `completion` of each `prompt`."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.adapted import load_adapted
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer

DEFAULT_NEW_TOKENS = 64


class LanguageModel(PythonModel):
    """Language model, loaded from a folder for `AutoModelForCausalLM`.

    Prompts are framed as in training. `artifacts["prompting"]` is JSON with the framing: token ids `before` and `after`
    a prompt, the ids that `end` a completion, whether white space around a prompt is removed (`trims`), and the
    `length` in tokens that prompt and completion share.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder, or join `["adapter"]` with its `["base"]`."""
        from transformers import AutoModelForCausalLM

        self.prompting = json.loads(Path(context.artifacts["prompting"]).read_text("utf-8"))
        self.tokenizer = load_tokenizer(context)
        load = load_adapted if "adapter" in context.artifacts else load_pretrained
        self.model = load(context, AutoModelForCausalLM)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a completion a row, of at most `params["max_new_tokens"]` tokens."""
        most = int((params or {}).get("max_new_tokens", DEFAULT_NEW_TOKENS))
        return pd.DataFrame({"completion": [self._complete(prompt, most) for prompt in model_input["prompt"]]})

    def _complete(self, prompt: str, most: int) -> str:
        """Return one completion; prompts are not batched, because padding would change the shorter ones."""
        import torch

        framed = self._frame(prompt, most)
        ids = torch.tensor([framed], device=self.model.device)
        output = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max(1, min(most, self.prompting["length"] - len(framed))),
            do_sample=False,
            eos_token_id=self.prompting["end"],
            pad_token_id=self.prompting["end"][0],
        )
        return self.tokenizer.decode(output[0, len(framed) :].tolist(), skip_special_tokens=True)

    def _frame(self, prompt: str, most: int) -> list[int]:
        """Return the token ids of the framed prompt.

        A prompt that is too long for the window is cut where training would have cut it: at its end if an answer
        follows, at its beginning if it is continued.
        """
        before, after, length = (self.prompting[key] for key in ("before", "after", "length"))
        ids = self.tokenizer.encode(prompt.strip() if self.prompting["trims"] else prompt, add_special_tokens=False).ids
        room = max(1, length - len(before) - len(after) - min(most, length // 2))
        return [*before, *(ids[:room] if after else ids[-room:]), *after]


set_model(LanguageModel())
