"""Serve a causal language model: the greedy `completion` of each `prompt`."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.corpus.text.chat_tokens import ChatTokens
from modelmill.tasks.serving.adapted import load_adapted
from modelmill.tasks.serving.model import folder_of
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer

DEFAULT_NEW_TOKENS = 64


class LanguageModel(PythonModel):
    """Language model, loaded from a folder for `AutoModelForCausalLM`.

    Prompts are framed as in training. `artifacts["prompting"]` is JSON with the framing: token ids `before` and `after`
    a prompt, the ids that `end` a completion, whether white space around a prompt is removed (`trims`), and the
    `length` in tokens that prompt and completion share. Where it says `chat`, the tokenizer's chat template frames a
    prompt, with a `date` for those that write one.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder, or join `["adapter"]` with its `["base"]`."""
        from transformers import AutoModelForCausalLM

        self.prompting = json.loads(Path(context.artifacts["prompting"]).read_text("utf-8"))
        self.tokenizer = load_tokenizer(context)
        self.chat = self._load_chat(context) if self.prompting.get("chat") else None
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

    def _load_chat(self, context: Any) -> ChatTokens:
        day = date.fromisoformat(self.prompting["date"])
        return ChatTokens(folder_of(context), day, self.prompting["end"][0])

    def _frame(self, prompt: str, most: int) -> list[int]:
        """Return the token ids of the framed prompt; one that is too long for the window loses its beginning."""
        length = self.prompting["length"]
        room = length - min(most, length // 2)
        if self.chat is not None:
            return self.chat.asked(prompt, room)
        before, after = self.prompting["before"], self.prompting["after"]
        ids = self.tokenizer.encode(prompt.strip() if self.prompting["trims"] else prompt, add_special_tokens=False).ids
        return [*before, *ids[-max(1, room - len(before) - len(after)) :], *after]


set_model(LanguageModel())
