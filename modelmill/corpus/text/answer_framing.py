"""The framing of preferences and labelled answers by a chat template: a prompt, then one answer to it or two."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelmill.corpus.packing import Segment
from modelmill.corpus.text.chat_framing import Template
from modelmill.corpus.text.conversations.conversation import Labelled, Message, Preference
from modelmill.corpus.text.conversations.exchanges import shortened
from modelmill.corpus.text.framed import COUNTED, Framed, Placed, is_left_out, refusing
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.shown import UnfitTemplateError, texts_of
from modelmill.corpus.text.tokenizer import Encoder

BETTER, WORSE = 1, 2
# What an example is called in messages.
_NAMES = {"preferences": "preference", "labelled": "labelled answer"}


class Answers(Template):
    """The framing of answers to prompts; see `Framing`.

    An example is the ids of the prompt, those of the better answer and those of the worse, of which only what the
    assistant says is learned. The model sees each answer after the prompt alone.
    """

    def __init__(self, settings: Pairs, encoder: Encoder, folder: Path, length: int) -> None:
        """Load the template and try it on a pair; see `Template`."""
        super().__init__(settings, encoder, folder, length)
        self.room = length
        self.kind: str = settings.source
        self.counted: tuple[str, ...] = COUNTED
        self.arrays = frozenset({"sides"})

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        return {"kind": self.kind, **super().describe()}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Framed]:
        """Return the answers as examples, without those that are dropped; see `Framing.examples`."""
        framed = []
        for answered, row in placed:
            assert isinstance(answered, Preference | Labelled)
            begins = next(("".join(texts_of(m)) for m in answered.prompt if m.get("role") == "user"), "")
            with refusing(f"{where} row {row + 1}", begins):
                one = self._example(answered, f"{where} row {row + 1}", counts)
            if one is not None:
                framed.append(Framed(one, {"row": row, **_record(answered)}))
        return framed

    def _example(self, answered: Preference | Labelled, where: str, counts: Counter[str]) -> list[Segment] | None:
        """Return one example; None if it is dropped."""

        def sized(prompt: Sequence[Message]) -> int:
            given, *sides = self._segments(answered, prompt)
            return len(given[0].ids) + max(sum(len(segment.ids) for segment in side) for side in sides)

        size = sized(answered.prompt)
        prompt: Sequence[Message] = answered.prompt
        if size > self.room:
            if is_left_out(self.settings, counts, where, size, self.room, _NAMES[self.kind]):
                return None
            prompt = shortened(prompt, sized, self.room, self.tokens.text.without)
            if sized(prompt) > self.room:
                counts["dropped_pairs"] += 1  # an answer that is cut would be another answer
                return None
            counts["cut_prompts"] += 1
        return [segment for side in self._segments(answered, prompt) for segment in side]

    def _segments(self, answered: Preference | Labelled, prompt: Sequence[Message]) -> list[list[Segment]]:
        """Return the segments of the prompt and of each answer.

        Raises:
            UnfitTemplateError: The template does not show answers so that they can share their prompt.
        """
        if isinstance(answered, Preference):
            answers = [(answered.chosen, BETTER), (answered.rejected, WORSE)]
        else:
            answers = [(answered.completion, BETTER if answered.is_good else WORSE)]
        given, *others = [self._side(prompt, answer, answered.tools, side) for answer, side in answers]
        if any(list(other[0].ids) != list(given[0].ids) for other in others):
            raise UnfitTemplateError("shows a prompt before one answer in other words than before another")
        return [given[:1], *(side[1:] for side in (given, *others))]

    def _side(self, prompt: Sequence[Message], answer: list[Message], tools: Any, side: int) -> list[Segment]:
        """Return the segments of a prompt with an answer, the prompt first."""
        first = len(prompt)
        weights = {first + n: 1.0 for n, message in enumerate(answer) if message.get("role") == "assistant"}
        chatted = self.tokens.conversation([*prompt, *answer], tools, weights)
        if len(chatted) != 1 or chatted[0].turns[0] != first:
            raise UnfitTemplateError(
                "shows an earlier message of an answer in other words once it is past, so that the answer cannot be "
                "scored as one text"
            )
        given, *said = chatted[0].segments[:-1]
        return [given, *(segment._replace(side=side) for segment in said)]


def _record(answered: Preference | Labelled) -> dict[str, Any]:
    """Return the messages of an example for people."""
    record = {"messages": answered.prompt, "tools": answered.tools}
    if isinstance(answered, Preference):
        return {**record, "chosen": answered.chosen, "rejected": answered.rejected}
    return {**record, "completion": answered.completion, "is_good": answered.is_good}
