"""Demo data for token classification: sentences of docstrings, whose markup says which words are code.

Authors write names of parameters, values and other code between backticks or with a role such as `:class:`. The markup
is taken away, and what it said becomes the words' tags.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from modelmill.core.digest import fraction
from modelmill.corpus.text.python_sources import package, parsed
from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.splitting import split

PACKAGES = ("numpy", "pandas", "scipy", "sklearn")
PARAMETER, VALUE, CODE = "parameter", "value", "code"
SHORTEST, LONGEST = 5, 30  # words
_Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*:])")
# A role or none, and what is in single or double backticks; or a name between asterisks.
_MARKED = re.compile(r"(?P<role>:[a-z:]+:)?(?P<tick>``?)(?P<said>[^`]+)(?P=tick)|(?<![\w*])\*(?P<name>\w+)\*(?![\w*])")
# Roles of what is no code.
_PROSE = (":ref:", ":term:", ":doc:")
_VALUE = re.compile(r"None|True|False|[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|'[^']*'|\"[^\"]*\"")
# A line of a list, a table, a title or a directive; and what is left of markup that was not understood.
_NO_PROSE = re.compile(r"\s*([-*|+=~^.>#]|\d+\.\s)")
_STRANGE = re.compile(r"[`|<>\\]|::|\*\*|__\b")
_PLAIN = re.compile(r"[a-z]+")


class Tagged(NamedTuple):
    """A sentence."""

    tokens: list[str]
    tags: list[str]


def token_classification(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of sentences, by path.

    The path of a sentence's source file draws its shard, and its split later. Of equal sentences the first is kept.

    Args:
        shards: Number of files.
    """
    lines: list[list[str]] = [[] for _ in range(shards)]
    met: set[tuple[str, ...]] = set()
    for path, source in _sources().items():
        for docstring, parameters in documented(source):
            for sentence in sentences(docstring):
                found = tagged(sentence, parameters)
                if found is None or tuple(found.tokens) in met:
                    continue
                met.add(tuple(found.tokens))
                line = json.dumps(found._asdict() | {"path": path}, ensure_ascii=False)
                lines[int(fraction(path) * shards)].append(line + "\n")
    return {f"sentences-{number:05d}.jsonl": "".join(some).encode() for number, some in enumerate(lines) if some}


def _sources() -> dict[str, str]:
    sources: dict[str, str] = {}
    for name in PACKAGES:
        sources |= package(name, "demo")
    return sources


def documented(source: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the docstring of each class and function of a source, with the names of its parameters."""
    tree = parsed(source)[1]
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, _Documented) and (docstring := ast.get_docstring(node)):
            yield docstring, _parameters(node)


def _parameters(node: _Documented) -> set[str]:
    if isinstance(node, ast.ClassDef):
        made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return _parameters(made[0]) if made else set()
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return {one.arg for one in named} - {"self", "cls"}


def sentences(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring's prose, each on one line, with their markup."""
    for block in _blocks(docstring):
        for sentence in _SENTENCE_END.split(" ".join(block)):
            if sentence.endswith("."):
                yield sentence


def _blocks(docstring: str) -> Iterator[list[str]]:
    """Yield the lines of each paragraph; one that is further in than the one before begins another."""
    block: list[str] = []
    indent = 0
    for line in [*docstring.split("\n"), ""]:
        its = len(line) - len(line.lstrip())
        if block and (not line.strip() or its != indent):
            if not any(_NO_PROSE.match(one) for one in block):
                yield block
            block = []
        if line.strip():
            block.append(line.strip())
            indent = its


def tagged(sentence: str, parameters: set[str]) -> Tagged | None:
    """Return a sentence without its markup, and what it said of the words.

    The result is None where it has no markup, or some that is not understood, or is no prose.

    Args:
        sentence: The sentence.
        parameters: Names of the parameters of what it documents.
    """
    text, spans = _without_markup(sentence, parameters)
    words = split(text, "punctuation")
    is_prose = sum(bool(_PLAIN.fullmatch(word.text)) for word in words) >= len(words) / 2
    if not spans or not is_prose or _STRANGE.search(text) or not SHORTEST <= len(words) <= LONGEST:
        return None
    tags = [bio.OUTSIDE] * len(words)
    for start, end, kind in spans:
        inside = [number for number, word in enumerate(words) if word.start < end and word.end > start]
        if not inside or words[inside[0]].start < start or words[inside[-1]].end > end:
            return None  # part of a word, as in `x`-axis
        for number in inside:
            tags[number] = (bio.BEGIN if number == inside[0] else bio.INSIDE) + kind
    return Tagged([word.text for word in words], tags)


def _without_markup(sentence: str, parameters: set[str]) -> tuple[str, list[tuple[int, int, str]]]:
    """Return the text, and where in it something was marked up, as what."""
    text, done = "", 0
    spans: list[tuple[int, int, str]] = []
    for found in _MARKED.finditer(sentence):
        text += sentence[done : found.start()]
        role, said = found["role"] or "", (found["name"] or found["said"]).strip()
        shown = _shown(said) if role else said
        if role not in _PROSE:
            spans.append((len(text), len(text) + len(shown), _kind(said, role, parameters)))
        text += shown
        done = found.end()
    return text + sentence[done:], spans


def _shown(said: str) -> str:
    """Return what a reader sees of a role's content."""
    title = said.partition(" <")[0].lstrip("!")
    return title.rpartition(".")[2] if title.startswith("~") else title


def _kind(said: str, role: str, parameters: set[str]) -> str:
    if said.lstrip("*") in parameters:
        return PARAMETER
    return VALUE if not role and _VALUE.fullmatch(said) else CODE


DEMOS = {"token-classification": token_classification}
