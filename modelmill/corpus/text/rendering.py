"""Conversations in a tokenizer's chat template, as text; training and the served model share it.

What follows a conversation as the template asks for the next message is that message, and no part of it is put
together by hand.
"""

import functools
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelmill.corpus.text.conversations.conversation import Message
from modelmill.corpus.text.shown import THOUGHT, UnfitTemplateError, require_calls, require_context, shows, texts_of
from modelmill.corpus.text.template_date import written

if TYPE_CHECKING:
    from tokenizers import AddedToken

    from modelmill.corpus.text.sandbox import Program

PROBE = ("Modelmill asks", "Modelmill answers")
TOOL = "modelmill_tool"
THINKS = "<think>"


class Rendered(NamedTuple):
    """A conversation in a template, up to and with a message of the assistant.

    Attributes:
        given: Text up to where the message begins.
        learned: Text of the message, with what ends it.
        rest: Text after that.
        is_generated: Whether the template, if it marks what is generated, marks the message.
    """

    given: str
    learned: str
    rest: str
    is_generated: bool = True

    @property
    def whole(self) -> str:
        """Return all of the text."""
        return self.given + self.learned + self.rest


class _Shape(NamedTuple):
    """How a template takes tool calls: with arguments as text or as an object, and beside which empty content."""

    as_text: bool
    content: str | None


class ChatTemplate:
    """The chat template of a tokenizer.

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
        self._day = day
        self._programs: dict[bool, Program] = {}
        # Llama 3's templates write today's date unless they are given one.
        self._values = {**self._theirs.special_tokens_map, "date_string": written(day, "%d %b %Y"), "documents": None}
        self.special = [token.content for token in added if token.special]
        self._is_marked = False
        self._begin = ""  # what the template writes before an answer
        pair = probe()
        whole = self._render(pair)
        self._end = whole.rpartition(PROBE[1])[2] if PROBE[1] in whole else ""
        self.stop = _first(self._end, self.special) or _first(self._end, [token.content for token in added])
        self.rest = self._end.partition(self.stop)[2] if self.stop else ""
        try:
            self.turn(pair)
        except UnfitTemplateError:
            if not self._program(False).marks:
                raise
            self._is_marked = True
        self._begin = self.turn(pair).learned.partition(PROBE[1])[0]

    def asked(self, messages: Sequence[Message], tools: Sequence[Message] = ()) -> str:
        """Return the text up to where the assistant's next message begins.

        Raises:
            UnfitTemplateError: The template fails.
        """
        if self._is_marked:
            return self._before_marked([*messages, probe()[1]], tools)
        return self._render(messages, tools, asks=True)

    def turn(self, messages: Sequence[Message], tools: Sequence[Message] = ()) -> Rendered:
        """Return a conversation up to and with its last message, which is the assistant's.

        Raises:
            UnfitTemplateError: The template fails, leaves out or changes something, or opens a message that is asked
                for in other words than one that is given.
        """
        *before, last = messages
        asked = self.asked(before, tools)
        require_context(asked, before, tools)
        whole, marks = self._run(messages, tools, asks=False)
        said = whole[len(asked) :] if whole.startswith(asked) else None
        reasoning = last.get("reasoning_content")
        if reasoning and not (said is not None and shows(said, reasoning)):
            if THOUGHT not in self._program(bool(tools)).source:
                raise UnfitTemplateError("does not show the thinking (reasoning_content) of a message")
            return self.turn([*before, _with_thinking(last)], tools)
        if last.get("tool_calls"):
            rendered = self._call(asked, whole, said, last)
        else:
            rendered = self._answer(asked, whole, said, "".join(texts_of(last)))
        return self._as_marked(rendered, whole, marks) if self._program(bool(tools)).marks else rendered

    def _as_marked(self, rendered: Rendered, whole: str, marks: list[tuple[int, int]]) -> Rendered:
        """Return a message as generated or not, as the template marks it.

        Raises:
            UnfitTemplateError: The template marks a part of it.
        """
        begin, end = len(rendered.given), len(rendered.given) + len(rendered.learned)
        if not whole.startswith(rendered.given + rendered.learned):
            return rendered  # thinking was put back
        marked = "".join(whole[max(begin, a) : min(end, b)] for a, b in marks).rstrip()
        if marked and rendered.learned.removeprefix(marked).strip() not in ("", *self.special):
            raise UnfitTemplateError(f"marks only {marked[:40]!r} of a response as generated")
        return rendered._replace(is_generated=bool(marked))

    def _answer(self, asked: str, whole: str, said: str | None, response: str) -> Rendered:
        if said is not None and said.endswith(self._end) and shows(said[: len(said) - len(self._end)], response):
            return Rendered(asked, said[: len(said) - len(self.rest)], self.rest)
        thought = self._thought(asked, whole, said, response)
        if thought is not None:
            return Rendered(asked, thought + self._end[: len(self._end) - len(self.rest)], self.rest)
        if said is None:
            raise _opens_otherwise(asked, whole)
        raise UnfitTemplateError(f"does not show the response as it is, but as {said[:40]!r}")

    def _call(self, asked: str, whole: str, said: str | None, message: Message) -> Rendered:
        """Return a message with tool calls, which some templates end in another way than answers."""
        if said is None and (opened := asked.rstrip()).endswith(THINKS):
            base = opened.removesuffix(THINKS)
            if whole.startswith(base):
                thinking = str(message.get("reasoning_content") or "").strip("\n")
                said = f"{thinking}\n{THOUGHT}\n\n{whole[len(base) :]}"
        if said is None:
            raise _opens_otherwise(asked, whole)
        require_calls(said, message)
        for part in (message.get("content"), message.get("reasoning_content")):
            if isinstance(part, str) and not shows(said, part):
                raise UnfitTemplateError(f"does not show what is said beside a tool call, but {said[:40]!r}")
        if said.endswith(self._end):
            return Rendered(asked, said[: len(said) - len(self.rest)], self.rest)
        learned = said.rstrip()
        if not any(learned.endswith(token) for token in self.special):
            raise UnfitTemplateError(f"ends a tool call with no special token, but {said[-40:]!r}")
        return Rendered(asked, learned, said[len(learned) :])

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
        begin = said.removesuffix(self._end).rstrip().removesuffix(answer)
        return (begin if begin.strip() else self._begin) + response

    def _render(self, messages: Sequence[Message], tools: Sequence[Message] = (), asks: bool = False) -> str:
        return self._run(messages, tools, asks)[0]

    def _before_marked(self, messages: Sequence[Message], tools: Sequence[Message]) -> str:
        """Return the text up to where the last of the template's `generation` blocks begins."""
        whole, marks = self._run(messages, tools, asks=False)
        return whole[: marks[-1][0]] if marks else ""

    def _run(
        self, messages: Sequence[Message], tools: Sequence[Message], asks: bool, shape: _Shape | None = None
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return a rendering, and what the template marks as generated.

        Args:
            messages: The messages.
            tools: Schemas of the tools.
            asks: Whether the assistant's next message is asked for.
            shape: How the template takes tool calls; None finds it out.
        """
        if shape is None and any(message.get("tool_calls") for message in messages):
            shape = self._shape
        values = {
            **self._values,
            "messages": [_taken(message, shape) for message in messages],
            "tools": list(tools) or None,
            "add_generation_prompt": asks,
        }
        try:
            return self._program(bool(tools)).render(values)
        except Exception as error:  # a template is a stranger's code
            raise UnfitTemplateError(f"fails: {error}") from error

    @functools.cached_property
    def _shape(self) -> _Shape:
        """How the template takes tool calls: the first way in which it shows them."""
        messages, tools = call_probe()
        for shape in (_Shape(as_text, content) for as_text in (False, True) for content in (None, "")):
            try:
                require_calls(self._run(messages, tools, False, shape)[0], messages[-1])
            except UnfitTemplateError:
                continue
            return shape
        raise UnfitTemplateError("does not show calls of tools")

    def _program(self, has_tools: bool) -> "Program":
        """Return the template; some tokenizers have another one for tools."""
        # The image that registers a serving script imports this module, and need not have jinja2.
        from modelmill.corpus.text.sandbox import Program

        if has_tools not in self._programs:
            try:
                source = self._theirs.get_chat_template(None, [{}] if has_tools else None)
                self._programs[has_tools] = Program(source, functools.partial(written, self._day))
            except Exception as error:  # the library raises whatever it stumbles over
                raise UnfitTemplateError(f"fails: {error}") from error
        return self._programs[has_tools]


def _with_thinking(message: Message) -> Message:
    """Return a message with its thinking in the content, where DeepSeek-R1 writes it and others look for it."""
    told = f"{THINKS}\n{message['reasoning_content']}\n{THOUGHT}\n\n{''.join(texts_of(message))}"
    kept = {key: value for key, value in message.items() if key not in ("reasoning_content", "thinking", "reasoning")}
    return {**kept, "content": told}


def probe() -> list[Message]:
    """Return a pair that a template is tried on."""
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), PROBE, strict=True)]


def call_probe() -> tuple[list[Message], list[Message]]:
    """Return messages with a tool call that a template is tried on, and the tool."""
    place = {"type": "string", "description": "A place"}
    parameters = {"type": "object", "properties": {"place": place}, "required": ["place"]}
    tool = {"name": TOOL, "description": "A tool.", "parameters": parameters}
    call = {"name": TOOL, "arguments": {"place": "Millstone"}}
    calls = [{"id": "modelmill", "type": "function", "function": call}]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    return [probe()[0], said], [{"type": "function", "function": tool}]


def _taken(message: Message, shape: _Shape | None) -> Message:
    """Return a message as `transformers` gives it to templates: without nulls, with the names of thinking."""
    from transformers.utils.chat_template_utils import _alias_reasoning_fields

    taken = {key: value for key, value in message.items() if value is not None}
    if shape is not None and taken.get("tool_calls"):
        taken["tool_calls"] = [_call(call, shape) for call in taken["tool_calls"]]
        if shape.content is not None:
            taken.setdefault("content", shape.content)
    (aliased,) = _alias_reasoning_fields([taken])
    return dict(aliased)


def _call(call: Message, shape: _Shape) -> Message:
    function = call.get("function", call)
    arguments = function.get("arguments")
    if shape.as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not shape.as_text and isinstance(arguments, str):
        arguments = json.loads(arguments)
    changed = {**function, "arguments": arguments}
    return {**call, "function": changed} if "function" in call else changed


def _first(text: str, tokens: list[str]) -> str | None:
    """Return the token that comes first in a text, the longest of those; None where there is none."""
    places = [(text.find(token), -len(token), token) for token in tokens if token in text]
    return min(places)[2] if places else None


def _opens_otherwise(asked: str, whole: str) -> UnfitTemplateError:
    same = next((n for n, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), min(len(asked), len(whole)))
    return UnfitTemplateError(
        f"opens a response that is asked for in other words, {asked[-24:]!r}, than one that is given: "
        f"{whole[max(0, same - 12) : same + 12]!r}"
    )
