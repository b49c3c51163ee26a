"""Conversations in a tokenizer's chat template, as text and as token ids; training and the served model share it.

`transformers` renders a template in jinja2's sandbox, because it comes from whoever made the tokenizer. What follows
the prompt as the template asks it is the response, and no part of it is put together by hand.
"""

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tokenizers import AddedToken

PROBE = ("Modelmill asks", "Modelmill answers")
THINKS, THOUGHT = "<think>", "</think>"
_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_GENERATION = re.compile(r"{%-?\s*generation\s*-?%}")


class UnfitTemplateError(ValueError):
    """A template that shows a pair in no form that can be learned; the message says why."""


class Rendered(NamedTuple):
    """A pair in a template.

    Attributes:
        given: Text up to where the response begins.
        learned: Text of the response, with what ends it.
        rest: Text after that.
    """

    given: str
    learned: str
    rest: str


class ChatTemplate:
    """The chat template of a tokenizer: the prompt is the user's message, the response the assistant's.

    Attributes:
        special: Contents of the tokenizer's special tokens.
        stop: The special token that ends a response; None where the template writes none.
        rest: What the template writes after it.
    """

    def __init__(self, folder: Path, day: date, added: "list[AddedToken]") -> None:
        """Load a tokenizer with its template.

        Args:
            folder: The tokenizer's folder.
            day: The date that the template writes, if it writes one.
            added: The tokens that were added to the tokenizer's vocabulary.

        Raises:
            UnfitTemplateError: The template fails, or shows no pair in a form that can be learned.
        """
        from transformers import PreTrainedTokenizerFast

        self._theirs: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        try:
            self._template = dated(self._theirs.get_chat_template(), day)
        except ValueError as error:
            raise UnfitTemplateError(f"fails: {error}") from error
        # Llama 3's templates write today's date unless they are given one.
        self._date = _written(day, "d b Y")
        self.special = [token.content for token in added if token.special]
        self._is_marked = False
        whole = self._render(*PROBE)
        self._end = whole.rpartition(PROBE[1])[2] if PROBE[1] in whole else ""
        self.stop = _first(self._end, self.special) or _first(self._end, [token.content for token in added])
        self.rest = self._end.partition(self.stop)[2] if self.stop else ""
        try:
            self.rendered(*PROBE)
        except UnfitTemplateError:
            if not _GENERATION.search(self._template):
                raise
            self._is_marked = True
            self.rendered(*PROBE)

    def asked(self, prompt: str) -> str:
        """Return the text up to where the response to a prompt begins."""
        if self._is_marked:
            return self._marked(prompt, PROBE[1])[0]
        return self._render(prompt)

    def asked_messages(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        """Return the text of a conversation up to where its next answer begins.

        Args:
            messages: The messages.
            tools: JSON schemas of tools.

        Raises:
            UnfitTemplateError: The template fails.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        end = [{"role": "assistant", "content": PROBE[1]}] if self._is_marked else []
        try:
            rendered: Any = render_jinja_template(
                [[*messages, *end]],
                tools=tools or None,
                chat_template=self._template,
                add_generation_prompt=not self._is_marked,
                return_assistant_tokens_mask=self._is_marked,
                date_string=self._date,
                **self._theirs.special_tokens_map,
            )
        except Exception as error:  # a template is a stranger's code
            raise UnfitTemplateError(f"fails: {error}") from error
        (whole,), spans = rendered
        return str(whole[: spans[0][-1][0]] if self._is_marked else whole)

    def rendered(self, prompt: str, response: str) -> Rendered:
        """Return a pair in the template.

        Raises:
            UnfitTemplateError: The template fails, leaves out or changes prompt or response, or opens a response that
                is asked for in other words than one that is given.
        """
        asked = self.asked(prompt)
        if not _shows(asked, prompt):
            raise UnfitTemplateError("does not show the prompt")
        whole = "".join(self._marked(prompt, response)) if self._is_marked else self._render(prompt, response)
        said = whole[len(asked) :] if whole.startswith(asked) else None
        if said is not None and said.endswith(self._end) and _shows(said[: len(said) - len(self._end)], response):
            return Rendered(asked, said[: len(said) - len(self.rest)], self.rest)
        thought = self._thought(asked, whole, said, response)
        if thought is not None:
            return Rendered(asked, thought + self._end[: len(self._end) - len(self.rest)], self.rest)
        if said is None:
            raise UnfitTemplateError(
                f"opens a response that is asked for in other words, {asked[-24:]!r}, than one that is given: "
                f"{_difference(asked, whole)!r}"
            )
        raise UnfitTemplateError(f"does not show the response as it is, but as {said[:40]!r}")

    def _thought(self, asked: str, whole: str, said: str | None, response: str) -> str | None:
        """Return a response with its thinking, which templates such as DeepSeek-R1's leave out of past answers.

        Where the template asks with an opened thinking part, the response goes on from there: one that has none closes
        it at once, as Qwen3's template writes it. None where the template does something else.
        """
        answer = response.rpartition(THOUGHT)[2].strip()
        if not whole.endswith(answer + self._end):
            return None
        if asked.rstrip().endswith(THINKS):
            if THOUGHT not in response:
                return f"\n{THOUGHT}\n\n{response}"
            return response.lstrip().removeprefix(THINKS).lstrip("\n")
        if said is None or THOUGHT not in response:
            return None
        return said.removesuffix(self._end).rstrip().removesuffix(answer) + response

    def _render(self, prompt: str, response: str | None = None) -> str:
        """Return a pair in the template, or only its prompt up to where a response begins."""
        try:
            rendered: Any = self._theirs.apply_chat_template(
                _chat(prompt, response),
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=response is None,
                date_string=self._date,
            )
        except Exception as error:  # a template is a stranger's code
            raise UnfitTemplateError(f"fails: {error}") from error
        return str(rendered)

    def _marked(self, prompt: str, response: str) -> tuple[str, str]:
        """Return a pair in two parts, cut where the template's `generation` block begins."""
        from transformers.utils.chat_template_utils import render_jinja_template

        rendered: Any = render_jinja_template(
            [_chat(prompt, response)],
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            date_string=self._date,
            **self._theirs.special_tokens_map,
        )
        (whole,), (spans,) = rendered
        begin = spans[-1][0] if spans else 0
        return whole[:begin], whole[begin:]


def dated(template: str, day: date) -> str:
    """Return a template whose `strftime_now` tells a date that is given, so that equal work is equal.

    Args:
        template: The template.
        day: The date.
    """
    if "strftime_now" not in template:
        return template
    codes = ("Y", "y", "B", "b", "m", "-m", "A", "a", "d", "-d", "e", "j", "H", "I", "M", "S", "p")
    replaced = "".join(f" | replace('%{code}', '{_written(day, code)}')" for code in codes)
    # A template is given plain values alone, no functions; a macro takes the function's place.
    return "{%- macro strftime_now(format) -%}{{ format" + replaced + " }}{%- endmacro -%}" + template


def _written(day: date, codes: str) -> str:
    """Return parts of a date, at midnight, as `strftime` writes them in English, whatever the machine's language."""
    month, weekday = _MONTHS[day.month - 1], _DAYS[day.weekday()]
    values = {"Y": f"{day.year:04}", "y": f"{day.year % 100:02}", "B": month, "b": month[:3], "A": weekday}
    values |= {"a": weekday[:3], "m": f"{day.month:02}", "-m": f"{day.month}", "d": f"{day.day:02}"}
    values |= {"-d": f"{day.day}", "e": f"{day.day:2}", "j": f"{day.timetuple().tm_yday:03}"}
    values |= {"H": "00", "I": "12", "M": "00", "S": "00", "p": "AM"}
    return " ".join(values[code] for code in codes.split())


def _chat(prompt: str, response: str | None) -> list[dict[str, str]]:
    chat = [{"role": "user", "content": prompt}]
    return chat if response is None else [*chat, {"role": "assistant", "content": response}]


def _first(text: str, tokens: list[str]) -> str | None:
    """Return the token that comes first in a text, the longest of those; None where there is none."""
    places = [(text.find(token), -len(token), token) for token in tokens if token in text]
    return min(places)[2] if places else None


def _shows(text: str, part: str) -> bool:
    """Return whether a text shows a part; white space may differ."""
    return part.strip() in text or "".join(part.split()) in "".join(text.split())


def _difference(asked: str, whole: str) -> str:
    same = next((n for n, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), min(len(asked), len(whole)))
    return whole[max(0, same - 12) : same + 12]
