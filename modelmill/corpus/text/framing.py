"""The frame of a pair for the model: the text before the prompt, between prompt and response, and after.

A frame is worked out once for all pairs, so that a client of the model needs no template, only token ids.
"""

import itertools
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from modelmill.core.errors import UserError
from modelmill.corpus.packing import Frame
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.tokenizer import Vocabulary, load

KEY = "preprocessing.pairs.framing: chat"
# Words that no template treats specially.
PROBE = Pair("Modelmill asks", "Modelmill answers")
# Llama 3's templates write today's date unless they are given one; this one is their fallback.
DATE = "26 Jul 2024"
_JOINED = "shares token ids with prompt or response: the tokenizer joins their characters"


class Separated:
    """The framing END prompt separator response END.

    Attributes:
        frame: Its token ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Frame pairs with a vocabulary's END and separator."""
        self.frame = Frame([vocabulary.end], vocabulary.separator, [vocabulary.end], vocabulary.end)

    def fitted(self, pair: Pair, row: int) -> Pair:
        """Return the pair as it is."""
        return pair


class Chat:
    """The framing of the tokenizer's chat template: the prompt as the user's message, the response as the assistant's.

    `transformers` renders it in jinja2's sandbox, because a template comes from whoever made the tokenizer.

    Attributes:
        tokenizer: The tokenizer with its template.
        parts: The template's texts before the prompt, between prompt and response, and after.
        frame: The token ids of these parts.
    """

    def __init__(self, folder: Path, end: int) -> None:
        """Work out the template's frame.

        Args:
            folder: The tokenizer's folder.
            end: Id of the token that ends texts.

        Raises:
            UserError: No single frame stands for the template: it fails, writes today's date, does not show prompt and
                response once each in this order, or its token ids depend on the text beside them.
        """
        from transformers import PreTrainedTokenizerFast

        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        template = str(self.tokenizer.chat_template)
        if "strftime_now" in template and "date_string" not in template:
            raise _refused("writes today's date into every pair, so that equal work would not be equal")
        whole = self._render(PROBE)
        self.parts = _split(whole)
        asked = self.parts[0] + PROBE.prompt + self.parts[1]
        if not asked.startswith(self._render(PROBE, asks=True)):
            raise _refused("opens a response that is asked for in other words than one that is given")
        self.frame = self._frame(whole, folder, end)

    def fitted(self, pair: Pair, row: int) -> Pair:
        """Return the pair as it stands in the template.

        Args:
            pair: The pair.
            row: Its row in the shard, from 0, for the message.

        Raises:
            UserError: The template treats this pair differently from others.
        """
        before, between, after = self.parts
        prompt, response = (part.strip() if self.frame.trims else part for part in pair)
        if before + prompt + between + response + after != self._render(pair):
            raise _refused(f"changes the pair of row {row + 1} that begins {prompt[:40]!r}, as it does not others")
        return Pair(prompt, response)

    def _render(self, pair: Pair, asks: bool = False) -> str:
        """Return the pair in the template, or only its prompt up to where the response begins."""
        from jinja2 import TemplateError

        chat = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                chat[:1] if asks else chat, tokenize=False, add_generation_prompt=asks, date_string=DATE
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise _refused(f"fails: {error}") from error
        return str(rendered)

    def _frame(self, whole: str, folder: Path, end: int) -> Frame:
        tokenizer = load(folder)
        before, between, after = self._ids(tokenizer)
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        stop = next((token for token in after if token in special), None)
        if stop is None:
            after, stop = [*after, end], end
        spaced = Pair(f" \n{PROBE.prompt}\n ", f" \n{PROBE.response}\n ")
        return Frame(before, between, after, stop, trims=self._render(spaced) == whole)

    def _ids(self, tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
        """Return the ids of the three parts beside prompt and response; alone, a part can have others.

        Before the response exists, the model sees only what comes before it, so that is encoded without the response.
        """
        before, between, after = self.parts
        alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in PROBE]
        # The template's own special tokens are what they say; those in data stay plain characters.
        tokenizer.encode_special_tokens = False
        first, prompt, second = _pieces(tokenizer, [before, PROBE.prompt, between])
        response, third = _pieces(tokenizer, [PROBE.response, after])
        if [prompt, response] != alone:
            raise _refused(_JOINED)
        return first, second, third


Framing = Separated | Chat


def framing_of(framing: str, folder: Path, vocabulary: Vocabulary) -> Framing:
    """Return the framing that the recipe asks for.

    Args:
        framing: The recipe's `preprocessing.pairs.framing`.
        folder: The tokenizer's folder.
        vocabulary: The tokenizer's vocabulary.

    Raises:
        UserError: See `Chat`.
    """
    return Chat(folder, vocabulary.end) if framing == "chat" else Separated(vocabulary)


def _split(whole: str) -> tuple[str, str, str]:
    """Return the texts before, between and after prompt and response."""
    before, prompt, rest = whole.partition(PROBE.prompt)
    between, response, after = rest.partition(PROBE.response)
    if not prompt or not response or any(part in text for part in PROBE for text in (before, between, after)):
        raise _refused("does not show prompt and response once each, in this order")
    return before, between, after


def _pieces(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return the ids of each text, of all texts encoded together."""
    encoded = tokenizer.encode("".join(texts), add_special_tokens=False)
    placed = list(zip(encoded.ids, encoded.offsets, strict=True))
    bounds = itertools.pairwise([0, *itertools.accumulate(map(len, texts))])
    pieces = [[token for token, (a, b) in placed if begin <= a and b <= end] for begin, end in bounds]
    if sum(map(len, pieces)) != len(placed):
        raise _refused(_JOINED)
    return pieces


def _refused(why: str) -> UserError:
    return UserError(
        f"{KEY}: the tokenizer's chat template {why}; mend what it stumbles over, or set framing: separator"
    )
