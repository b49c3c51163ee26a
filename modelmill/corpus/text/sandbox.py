"""A chat template in a sandbox: transformers' own, with limits on the work and the text of one rendering.

A template is a program by whoever made the tokenizer. `transformers` runs it in jinja2's sandbox, which keeps it from
the machine but not from running for ever. A rendering that is within the limits is the one that `transformers` makes.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

# Rounds of loops and calls in one rendering, which take some seconds.
STEPS = 5_000_000
SECONDS = 20.0
# Characters of a text, or values of a list, that a template makes; and bits of a power.
LENGTH = 1 << 26
BITS = 100_000
# Filters that take a width.
_WIDENING = ("center", "indent")
_GENERATION = re.compile(r"{%-?\s*generation\s*-?%}")
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{6,}|\*)")


class LimitError(RuntimeError):
    """A rendering that takes too long or gets too large."""


class _Budget:
    """What one rendering may still do."""

    def __init__(self) -> None:
        self.steps = STEPS
        self.until = time.monotonic() + SECONDS

    def take(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise LimitError(f"does not end: it goes through more than {STEPS:,} rounds of loops and calls")
        if not self.steps % 1024 and time.monotonic() > self.until:
            raise LimitError(f"does not end within {SECONDS:.0f} seconds")


_budget: ContextVar[_Budget] = ContextVar("budget")


class Program:
    """A compiled template.

    Attributes:
        source: The template.
        marks: Whether the template marks what is generated.
    """

    def __init__(self, source: str, strftime_now: Callable[[str], str]) -> None:
        """Compile a template.

        Args:
            source: The template.
            strftime_now: Writes the date in a format.

        Raises:
            jinja2.TemplateSyntaxError: It is no template.
        """
        from transformers.utils.chat_template_utils import _compile_jinja_template

        theirs: Any = _compile_jinja_template("").environment
        environment = _Limited(
            trim_blocks=theirs.trim_blocks,
            lstrip_blocks=theirs.lstrip_blocks,
            extensions=[type(extension) for extension in theirs.extensions.values()],
        )
        environment.filters.update(theirs.filters)
        for name in _WIDENING:
            environment.filters[name] = _of_small_width(theirs.filters[name])
        environment.globals.update({**theirs.globals, "strftime_now": strftime_now})
        self.source = source
        self.marks = bool(_GENERATION.search(source))
        self._environment: Any = environment
        self._template = environment.from_string(source)
        self._alone = threading.Lock()  # the extension that tracks marks follows one rendering at a time

    def render(self, values: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]]]:
        """Return the text, and where in it the parts are that the template marks as generated.

        Args:
            values: The template's variables.

        Raises:
            LimitError: The rendering exceeds a limit.
            Exception: Whatever the template raises.
        """
        token = _budget.set(_Budget())
        try:
            return self._tracked(values) if self.marks else (self._template.render(values), [])
        finally:
            _budget.reset(token)

    def _tracked(self, values: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]]]:
        blocks: list[Any] = []
        marked: list[tuple[int, int]] = []
        with self._alone, self._environment.activate_tracker(blocks, marked):
            for block in self._template.generate(values):
                blocks.append(block)  # the extension looks at the list meanwhile
        return "".join(blocks), marked


def _of_small_width(widen: Callable[..., str]) -> Callable[..., str]:
    """Return a filter that refuses a width which would make a very long text."""

    def limited(*args: Any, **kwargs: Any) -> str:
        _require_small([value for value in (*args, *kwargs.values()) if isinstance(value, int)])
        return widen(*args, **kwargs)

    return limited


class _Limited(ImmutableSandboxedEnvironment):
    """The sandbox in which each round of a loop, each call and each long text is counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["_rounds"] = _rounds
        self.filters["_measured"] = pass_context(lambda _, value: _measured(value))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _budget.get().take()
        if isinstance(getattr(__obj, "__self__", None), str):
            _require_small([value for value in (*args, *kwargs.values()) if isinstance(value, int)])
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _require_small([len(one) * two for one, two in ((left, right), (right, left)) if _repeats(one, two)])
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > BITS:
                raise LimitError(f"raises a number to the power {right}")
        elif operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise LimitError("pads a text to a width that is too large")
        return _measured(super().call_binop(context, operator, left, right))


class _Counted(NodeTransformer):
    """Puts the counting into a template."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_rounds", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return nodes.Filter(node, "_measured", [], [], None, None, lineno=node.lineno)


@pass_context  # so that jinja2 computes none of them when it compiles
def _rounds(_: Any, values: Iterable[Any]) -> Iterator[Any]:
    """Yield what a loop goes through."""
    take = _budget.get().take
    for value in values:
        take()
        yield value


def _measured(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > LENGTH:
        raise LimitError(f"makes a text of more than {LENGTH:,} characters")
    return value


def _repeats(one: Any, two: Any) -> bool:
    return isinstance(one, str | list | tuple) and isinstance(two, int)


def _require_small(sizes: list[int]) -> None:
    if any(size > LENGTH for size in sizes):
        raise LimitError(f"makes a text of more than {LENGTH:,} characters")
