"""What every peer trains on: preferences and conversations of docstrings, as token ids of SmolLM2's chat template.

A preference is a function with its own docstring, and with that of the next function in the file. A conversation asks
for the docstrings of a file's functions one after the other.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.corpus.text.pairs import Pair, python_docstrings
from modelmill.corpus.text.python_sources import standard_library
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.task import LanguageModeling

SEED = 0
HELD_OUT = 64
TURNS = (2, 3, 4)
Ids = list[int]


class Preferred(NamedTuple):
    """A preference as token ids."""

    prompt: Ids
    chosen: Ids
    rejected: Ids


class Talk(NamedTuple):
    """A conversation as token ids, with what is learned of it."""

    tokens: Ids
    learned: list[int]


def preferences(model: Path, length: int, count: int) -> list[Preferred]:
    """Return preferences, in an order of their own, each side of which fits into a sequence.

    Args:
        model: Folder of the model, whose tokenizer and chat template are taken.
        length: Most tokens of a prompt with an answer.
        count: How many.
    """
    tokenizer = _tokenizer(model)
    made: list[Preferred] = []
    for first, second in _neighbours():
        asked = [{"role": "user", "content": first.prompt}]
        prompt = _ids(tokenizer, asked, add_generation_prompt=True)
        answers = [_ids(tokenizer, [*asked, _said(one.response)])[len(prompt) :] for one in (first, second)]
        if first.response != second.response and len(prompt) + max(map(len, answers)) <= length:
            made.append(Preferred(prompt, *answers))
        if len(made) == count:
            break
    return made


def conversations(model: Path, length: int, count: int) -> list[Talk]:
    """Return conversations of several turns that fit into a sequence; every answer is learned.

    Args:
        model: Folder of the model, whose tokenizer and chat template are taken.
        length: Most tokens of a conversation.
        count: How many.
    """
    tokenizer = _tokenizer(model)
    made: list[Talk] = []
    turns = itertools.cycle(TURNS)
    for pairs in _files():
        rest = iter(pairs)
        while asked := list(itertools.islice(rest, next(turns))):
            talk = _talk(tokenizer, asked)
            if len(talk.tokens) <= length:
                made.append(talk)
            if len(made) == count:
                return made
    return made


def _talk(tokenizer: Any, pairs: list[Pair]) -> Talk:
    messages: list[dict[str, str]] = []
    tokens: Ids = []
    learned: list[int] = []
    for pair in pairs:
        messages.append({"role": "user", "content": pair.prompt})
        before = _ids(tokenizer, messages, add_generation_prompt=True)
        messages.append(_said(pair.response))
        after = _ids(tokenizer, messages)
        learned += [0] * (len(before) - len(tokens)) + [1] * (len(after) - len(before))
        tokens = after
    return Talk(tokens, learned)


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _ids(tokenizer: Any, messages: list[dict[str, str]], **others: Any) -> Ids:
    ids: Ids = tokenizer.apply_chat_template(messages, return_dict=True, **others)["input_ids"]
    return ids


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def _files() -> list[list[Pair]]:
    """Return the pairs of each file of Python's standard library, the files in an order of their own."""
    texts = list(standard_library().values())
    order = np.random.default_rng(SEED).permutation(len(texts))
    return [pairs for number in order.tolist() if len(pairs := python_docstrings(texts[number])) > 1]


def _neighbours() -> Iterator[tuple[Pair, Pair]]:
    """Yield functions with the ones after them, a few of each file, so that no file is most of the data."""
    for pairs in _files():
        yield from itertools.islice(itertools.pairwise(pairs), 8)


def task_over(folder: Path, model: Path, length: int, splits: dict[str, list[Any]], kind: str) -> LanguageModeling:
    """Return our task over examples, which are written as preprocessing writes them.

    Args:
        folder: Folder to write into.
        model: Folder of the model.
        length: Tokens of a sequence.
        splits: Preferences or conversations, by split.
        kind: `preferences` or `conversations`.
    """
    config = json.loads((model / "config.json").read_text())
    end = config["eos_token_id"]
    files = {"tokenizer/tokenizer.json": model / "tokenizer.json"}
    for split, examples in splits.items():
        arrays = sided(examples, end) if kind == "preferences" else packed(examples, end, length)
        for name, array in arrays.items():
            file = folder / f"{split}.{name}.npy"
            np.save(file, array, allow_pickle=False)
            files[f"{split}/00000.pairs.{name}.npy"] = file
    info = {"sequence_length": length, "vocab_size": config["vocab_size"], "end_of_text": end, "frame": {"kind": kind}}
    return LanguageModeling(Manifest(kind="corpus", info=info), files, None)


def sided(examples: list[Preferred], end: int) -> dict[str, np.ndarray]:
    """Return the arrays of preferences, as preprocessing makes them.

    Args:
        examples: The preferences.
        end: Id of the token that ends a document.
    """
    sizes = [sum(map(len, one)) for one in examples]
    tokens = [token for one in examples for part in one for token in part]
    sides = [side for one in examples for side, part in enumerate(one) for _ in part]
    return {
        "tokens": np.array([*tokens, end], np.uint16),
        "sides": np.array([*sides, 0], np.uint8),
        "offsets": np.cumsum([0, *sizes]),
    }


def packed(examples: list[Talk], end: int, length: int) -> dict[str, np.ndarray]:
    """Return the arrays of conversations, as preprocessing makes them.

    Args:
        examples: The conversations.
        end: Id of the token that ends a document.
        length: Tokens of a window.
    """
    tokens: Ids = []
    learned: list[int] = []
    offsets: list[int] = []
    for one in examples:
        left = -len(tokens) % length
        if left and len(one.tokens) > left:  # END fills the window, each a document by itself
            offsets += range(len(tokens), len(tokens) + left)
            tokens += [end] * left
            learned += [0] * left
        offsets.append(len(tokens))
        tokens += one.tokens
        learned += one.learned
    offsets.append(len(tokens))
    return {
        "tokens": np.array([*tokens, end], np.uint16),
        "offsets": np.array(offsets, np.int64),
        "learned": np.array([*learned, 0], np.uint8),
    }
