"""What a model says in the place of the assistant's turns of held-out conversations: calls of tools, and samples."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from modelmill.measures import samples, tool_calls
from modelmill.measures.breakdown import PART
from modelmill.measures.samples import Sample
from modelmill.tasks.language_modeling.evaluation_settings import LanguageEvaluation
from modelmill.tasks.language_modeling.measuring.answering import answers
from modelmill.tasks.language_modeling.measuring.conversations import Message, Talk, Turn
from modelmill.tasks.language_modeling.measuring.examples import Row, tokens_of
from modelmill.tasks.language_modeling.measuring.responses import HeldOut

log = logging.getLogger("modelmill")
# The last turns of a conversation, of which a sample shows what the models say.
SAMPLED_TURNS = 4
# Tokens that a call may be longer than the true one.
SLACK = 16
# Token ids that a model said, by the number of the turn's run of learned tokens.
Said = Mapping[int, list[int]]


class Speaker:
    """The turns of held-out conversations that models are asked for, each after the true messages before it.

    Attributes:
        sampled: The conversations that the report shows.
        calling: The turns that call tools, each with its conversation, as far as their calls are found in their text.
    """

    def __init__(self, task: Any, held_out: HeldOut, tokenizer: Tokenizer, settings: LanguageEvaluation) -> None:
        """Choose the turns.

        Args:
            task: The task, as `make_task` returns it.
            held_out: The held-out conversations.
            tokenizer: The corpus's tokenizer.
            settings: The recipe's section.
        """
        self._task = task
        self._held_out = held_out
        self._tokenizer = tokenizer
        self._sample_tokens = settings.sample_tokens
        self.sampled = held_out.talks[: settings.samples]
        self.calling = self._calling(settings.tool_calls)

    def speak(self, model: Any) -> Said:
        """Return what a model says in all of the turns.

        Args:
            model: The causal language model.
        """
        most: dict[int, int] = {}
        asked: dict[int, list[int]] = {}
        for talk in self.sampled:
            for turn in talk.turns[-SAMPLED_TURNS:]:
                most[turn.run], asked[turn.run] = self._sample_tokens, self._prompt(talk, turn)
        for talk, turn in self.calling:
            size = 3 * len(self._held_out.runs.tokens[turn.run]) // 2 + SLACK
            most[turn.run] = max(size, most.get(turn.run, 0))
            asked[turn.run] = self._prompt(talk, turn)
        prompts = [(ids, most[run]) for run, ids in asked.items()]
        return dict(zip(asked, answers(self._task, model, prompts), strict=True))

    def call_rows(self, said: Said, when: str) -> list[Row]:
        """Return a row for each turn that calls tools.

        `score` is 1 where a call is found in what the model said, and `correct` whether the same tools are called with
        the same arguments as in the true turn.

        Args:
            said: What the model said.
            when: Name of the model: `before` or `after` fine-tuning.
        """
        rows = []
        for talk, turn in self.calling:
            found = tool_calls.of_text(self._text(said[turn.run]))
            known = self._held_out.described[talk.number]
            several = "several" if len(turn.calls) > 1 else "one"
            rows.append(
                {
                    "example": f"{known['example']}{PART}{turn.run - talk.turns[0].run}",
                    "set": "tool_calls",
                    "model": when,
                    "slices": [*turn.slices[:2], f"calls={several}", *talk.slices],
                    "weight": 1.0,
                    "score": float(bool(found)),
                    "correct": tool_calls.are_same(turn.calls, found),
                    "label": json.dumps(turn.calls, ensure_ascii=False),
                    "prediction": json.dumps(found, ensure_ascii=False),
                    "contaminated": known["contaminated"],
                }
            )
        return rows

    def samples(self, before: Said, after: Said) -> list[Sample]:
        """Return the sampled conversations, with what both models say beside what is true.

        Args:
            before: What the model says before fine-tuning; empty if it was not asked.
            after: What the fine-tuned model says.
        """
        return [self._sample(talk, before, after) for talk in self.sampled]

    def _sample(self, talk: Talk, before: Said, after: Said) -> Sample:
        asked = {turn.message: turn for turn in talk.turns[-SAMPLED_TURNS:] if turn.message is not None}
        shown = []
        if not asked:  # which message is which is not known
            prompt = self._text(self._prompt(talk, talk.turns[0]), plain=True)
            shown = [samples.message("prompt", prompt)]
            shown += [self._beside("assistant", turn, before, after) for turn in talk.turns[-SAMPLED_TURNS:]]
            return samples.conversation(shown, [])
        for place, message in enumerate(talk.messages):
            if place in asked:
                shown.append(self._beside(message["role"], asked[place], before, after))
            else:
                shown.append(samples.message(message["role"], _shown(message)))
        return samples.conversation(shown, [_name_of(tool) for tool in talk.tools])

    def _beside(self, role: str, turn: Turn, before: Said, after: Said) -> Sample:
        true = self._held_out.runs.tokens[turn.run].tolist()
        said = {"true": true, "before": before.get(turn.run), "after": after.get(turn.run)}
        texts = {name: self._text(ids, plain=True) for name, ids in said.items() if ids is not None}
        return samples.answers(role, texts)

    def _calling(self, most: int) -> list[tuple[Talk, Turn]]:
        calling = [(talk, turn) for talk in self._held_out.talks for turn in talk.turns if turn.calls]
        found = [
            (talk, turn)
            for talk, turn in calling
            if tool_calls.are_same(turn.calls, tool_calls.of_text(self._text(self._held_out.runs.tokens[turn.run])))
        ]
        if len(found) < len(calling):
            log.warning(
                "the calls of %d of %d held-out turns are not found in the chat template's own text of them: they are "
                "cut, or the template does not write them as JSON with a name and arguments; these turns are left out "
                "of tool_calls_parse and tool_calls_match",
                len(calling) - len(found),
                len(calling),
            )
        return found[:most]

    def _prompt(self, talk: Talk, turn: Turn) -> list[int]:
        prompt: list[int] = tokens_of(self._held_out.windows, talk.number)[: turn.begin].tolist()
        return prompt

    def _text(self, ids: Any, plain: bool = False) -> str:
        text: str = self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=plain)
        return text


def _shown(message: Message) -> str:
    """Return a message's content, and its calls of tools as JSON."""
    content = message.get("content")
    parts = [content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)] if content else []
    parts += [f"{call.name} {call.arguments}" for call in tool_calls.of_message(message)]
    return "\n".join(parts)


def _name_of(tool: Message) -> str:
    function = tool.get("function", tool)
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""
