"""Pairs and conversations as examples for the model: framed, and cut, split, dropped or refused where too long."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.packing import Segment
from modelmill.corpus.text.answer_framing import Answers
from modelmill.corpus.text.chat_framing import Chat
from modelmill.corpus.text.framed import COUNTED, Framed, Framing, Placed, is_left_out
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.tokenizer import Encoder


class Separated:
    """The framing by a separator: what opens a text, prompt, separator, response, END; see `Framing`.

    Attributes:
        before: Ids before the prompt.
        between: Ids between prompt and response.
    """

    kind = "pairs"
    counted: tuple[str, ...] = COUNTED
    arrays: frozenset[str] = frozenset()

    def __init__(self, settings: Pairs, encoder: Encoder, length: int) -> None:
        """Frame pairs with a vocabulary's END and separator.

        Args:
            settings: The recipe's `preprocessing.pairs`.
            encoder: The encoder of texts.
            length: The sequence length of training.
        """
        vocabulary = encoder.vocabulary
        self.settings = settings
        self.before, self.between, self.stop = (
            vocabulary.opening or [vocabulary.end],
            vocabulary.separator,
            vocabulary.end,
        )
        self.room = packing.room(length, shares_end=not vocabulary.opening)
        self._encoder = encoder
        self._arrays = [np.array(part, encoder.dtype) for part in (self.before, self.between, [self.stop])]

    @property
    def taken(self) -> int:
        """Return how many ids of an example are not of prompt and response."""
        return len(self.before) + len(self.between) + 1

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        frame = {"before": self.before, "between": self.between, "after": [self.stop], "stop": self.stop}
        return {"kind": self.kind, **frame, "trims": False}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Framed]:
        """Return the pairs as examples, without those that are dropped; see `Framing.examples`."""
        prompts, responses = (self._encoder.ids([str(one.pair[part]) for one in placed]) for part in (0, 1))
        examples = []
        for one, prompt, response in zip(placed, prompts, responses, strict=True):
            over = self.taken + len(prompt) + len(response) - self.room
            if over <= 0:
                examples.append(self._example(prompt, response))
            elif not is_left_out(self.settings, counts, f"{where} row {one.row + 1}", self.room + over, self.room):
                left = self.room - self.taken
                counts["cut_prompts"] += bool(len(prompt))
                counts["cut_responses"] += len(response) > left
                examples.append(self._example(prompt[min(over, len(prompt)) :], response[:left], len(response) > left))
        return examples

    def _example(self, prompt: np.ndarray, response: np.ndarray, is_cut: bool = False) -> Framed:
        before, between, stop = self._arrays
        given = Segment(np.concatenate([before, prompt, between]))
        if is_cut:
            return Framed([given, Segment(response, 1.0), Segment(stop)])
        return Framed([given, Segment(np.concatenate([response, stop]), 1.0)])


def framing_of(settings: Pairs, encoder: Encoder, folder: Path, length: int) -> Framing:
    """Return the framing that the recipe asks for.

    Args:
        settings: The recipe's `preprocessing.pairs`.
        encoder: The encoder of texts.
        folder: The tokenizer's folder.
        length: The sequence length of training.

    Raises:
        UserError: The template fails, or nothing is left for prompt and response beside the frame.
    """
    chosen: Framing
    if settings.framing != "chat":
        chosen = Separated(settings, encoder, length)
    elif settings.source in ("preferences", "labelled"):
        chosen = Answers(settings, encoder, folder, length)
    else:
        chosen = Chat(settings, encoder, folder, length)
    if chosen.taken + 2 > chosen.room:
        raise UserError(
            f"preprocessing.sequence_length: of {length} tokens the frame of a pair takes {chosen.taken}: nothing is "
            f"left for prompt and response; set it to {4 * chosen.taken} or more"
        )
    return chosen
