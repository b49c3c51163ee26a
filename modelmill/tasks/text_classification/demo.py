"""Demo data for text classification: sentences of docstrings.

The words of half of them are in another order (the task is `bigram shift`, one of the probing tasks of Conneau et al.,
2018, https://arxiv.org/abs/1805.01070); or all are as they were written, beside the library that each is from.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from modelmill.core.digest import fraction
from modelmill.corpus.text.python_sources import package, standard_library, taken_apart

PACKAGES = ("numpy", "pandas", "scipy", "sklearn")
# Words; the paper takes up to 28, which cost more time to learn from.
SHORTEST, LONGEST = 5, 20
# A sentence with a smaller share of plain words is code or a formula.
PLAIN_SHARE = 0.6
WRITTEN, SWAPPED = "written", "swapped"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SENTENCE = re.compile(r"[A-Z][a-z]* .*\.", re.DOTALL)
_PLAIN = re.compile(r"[a-z]+")


class Ordered(NamedTuple):
    """A sentence, and whether its words are in the `written` order or `swapped`."""

    text: str
    order: str


def text_classification(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of sentences, by path.

    The path of a sentence's source file draws its shard, and its split later. Of equal sentences the first is kept.

    Args:
        shards: Number of files.
    """
    return _shards(shards, lambda sentence, _: row._asdict() if (row := ordered(sentence)) else None)


def text_classification_minilm(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of sentences and the library whose docstring has each, by path.

    Shards are drawn, and equal sentences left out, as `text_classification` does.

    Args:
        shards: Number of files.
    """
    return _shards(shards, lambda sentence, path: {"text": sentence, "library": _library(path)})


def _library(path: str) -> str:
    """Return one of `PACKAGES`, or `python` for its standard library."""
    first = path.split("/")[0]
    return first if first in PACKAGES else "python"


def _sources() -> dict[str, str]:
    sources = standard_library()
    for name in PACKAGES:
        sources |= package(name, "demo")
    return sources


def _of_file(source: str) -> Iterator[str]:
    return (sentence for docstring in taken_apart(source)[1] for sentence in sentences(docstring))


def _shards(shards: int, make: Callable[[str, str], dict[str, str] | None]) -> dict[str, bytes]:
    """Return JSON Lines files of what is made of each sentence and its path, where anything is."""
    rows: list[list[str]] = [[] for _ in range(shards)]
    met: set[str] = set()
    for path, source in _sources().items():
        for sentence in _of_file(source):
            if sentence in met or (row := make(sentence, path)) is None:
                continue
            met.add(sentence)
            rows[int(fraction(path) * shards)].append(json.dumps(row | {"path": path}, ensure_ascii=False) + "\n")
    return {f"sentences-{number:05d}.jsonl": "".join(lines).encode() for number, lines in enumerate(rows) if lines}


def sentences(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring that are prose, each on one line."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            words = sentence.split(" ")
            is_prose = sum(map(_is_plain, words)) >= PLAIN_SHARE * len(words)
            if SHORTEST <= len(words) <= LONGEST and is_prose and _SENTENCE.fullmatch(sentence):
                yield sentence


def ordered(sentence: str) -> Ordered | None:
    """Return the sentence as it is or, by its hash, with two neighbouring plain words swapped.

    The first word stays. The result is None where no two words can be swapped.
    """
    words = sentence.split(" ")
    places = [at for at in range(1, len(words) - 1) if _can_change(words[at], words[at + 1])]
    if not places:
        return None
    if fraction(f"order:{sentence}") < 0.5:
        return Ordered(sentence, WRITTEN)
    at = places[int(fraction(f"place:{sentence}") * len(places))]
    words[at : at + 2] = reversed(words[at : at + 2])
    return Ordered(" ".join(words), SWAPPED)


def _can_change(one: str, other: str) -> bool:
    return one != other and _is_plain(one) and _is_plain(other)


def _is_plain(word: str) -> bool:
    return bool(_PLAIN.fullmatch(word))


DEMOS = {"text-classification": text_classification, "text-classification-minilm": text_classification_minilm}
