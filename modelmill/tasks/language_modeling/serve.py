"""Serve a causal language model: the `completion` of each `prompt`, or the answer to `messages`."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.corpus.text.chat_tokens import ChatTokens
from modelmill.tasks.serving import completion, conversation, settings
from modelmill.tasks.serving.adapted import load_adapted
from modelmill.tasks.serving.conversation import Prompt
from modelmill.tasks.serving.generation import Asked, Generator
from modelmill.tasks.serving.model import folder_of, refusal
from modelmill.tasks.serving.settings import Settings
from modelmill.tasks.serving.text import load_pretrained, load_tokenizer
from modelmill.tasks.serving.wording import Wording

MESSAGES, PROMPT = "messages", "prompt"


class WholeModel:
    """`AutoModelForCausalLM` for folders that have every weight; transformers would make others up at random."""

    @staticmethod
    def from_pretrained(folder: Path, **options: Any) -> Any:
        """Return the model of a folder.

        Args:
            folder: The folder.
            options: See transformers.

        Raises:
            MlflowException: A weight is not in it.
        """
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        before = logging.get_verbosity()
        logging.set_verbosity_error()  # it would list what is said in one line below
        try:
            model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
        finally:
            logging.set_verbosity(before)
        lacking = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
        if lacking:
            raise refusal(
                f"{type(model).__name__} needs {len(lacking)} weights that the model lacks, such as {lacking[0]}"
            )
        return model


class LanguageModel(PythonModel):
    """Language model, loaded from a folder for `AutoModelForCausalLM`.

    Prompts are framed as in training. `artifacts["prompting"]` is JSON with the framing: token ids `before` and `after`
    a prompt, the ids that `end` a completion, whether white space around a prompt is removed (`trims`), and the
    `length` in tokens that prompt and completion share. Where it says `chat`, the tokenizer's chat template frames
    prompts and conversations, with a `date` for those that write one.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder, or join `["adapter"]` with its `["base"]`."""
        self.prompting = json.loads(Path(context.artifacts["prompting"]).read_text("utf-8"))
        self.tokenizer = load_tokenizer(context)
        self.chat = self._load_chat(context) if self.prompting.get("chat") else None
        load = load_adapted if "adapter" in context.artifacts else load_pretrained
        self.generator = Generator(load(context, WholeModel), self.prompting["end"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Return the answers, greedy unless the parameters say otherwise.

        Args:
            context: MLflow's; not used.
            model_input: A column `prompt`, or `messages` and perhaps `tools`.
            params: See `modelmill.tasks.serving.parameters`.

        Returns:
            A table of completions for prompts; for one conversation a chat completion, for several a list of them.
        """
        if MESSAGES not in model_input:
            return pd.DataFrame({"completion": self._completions(list(model_input[PROMPT]), params)})
        chosen = settings.read(params, MESSAGES)
        prompts = [self._prompt(request, chosen) for request in model_input.to_dict("records")]
        wording = Wording(self.tokenizer, chosen.stops)
        asked = [self._asked(prompt.ids, chosen) for prompt in prompts]
        answers = self.generator.answers(asked, chosen.sampling, wording.is_over if chosen.stops else None)
        made = [completion.completion(self._name, *both, wording) for both in zip(prompts, answers, strict=True)]
        return made[0] if len(made) == 1 else made

    def predict_stream(
        self, context: Any, model_input: Mapping[str, Any], params: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the answer to a conversation in chunks.

        Args:
            context: MLflow's; not used.
            model_input: The request, with `messages`.
            params: See `modelmill.tasks.serving.parameters`.
        """
        chosen = settings.read(params, MESSAGES)
        prompt, wording = self._prompt(model_input, chosen), Wording(self.tokenizer, chosen.stops)
        over = wording.is_over if chosen.stops else None
        answers = self.generator.stream(self._asked(prompt.ids, chosen), chosen.sampling, over)
        yield from completion.chunks(self._name, prompt, answers, wording)

    @property
    def _name(self) -> str:
        return str(self.prompting.get("model", ""))

    def _completions(self, prompts: list[str], params: dict[str, Any] | None) -> list[str]:
        chosen = settings.read(params, PROMPT)
        wording = Wording(self.tokenizer, chosen.stops)
        asked = [self._asked(self._frame(prompt, chosen.most), chosen) for prompt in prompts]
        answers = self.generator.answers(asked, chosen.sampling, wording.is_over if chosen.stops else None)
        return [wording.text(answer.ids) for answer in answers]

    def _asked(self, ids: list[int], chosen: Settings) -> Asked:
        return Asked(ids, max(1, min(chosen.most, self.prompting["length"] - len(ids))))

    def _load_chat(self, context: Any) -> ChatTokens:
        day = date.fromisoformat(self.prompting["date"])
        return ChatTokens(folder_of(context), day, self.prompting["end"][0])

    def _prompt(self, request: Mapping[str, Any], chosen: Settings) -> Prompt:
        if self.chat is None:
            raise refusal(
                "messages: the model was not trained on chats (preprocessing.pairs.framing: chat); ask a prompt"
            )
        return conversation.prompt(*conversation.read(request), self.chat, self.prompting["length"], chosen)

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
