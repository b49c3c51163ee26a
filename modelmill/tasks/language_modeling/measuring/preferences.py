"""Which of two answers a model finds likelier, and how likely it finds answers that are called good or bad.

A margin is how much more probable the chosen answer is than the rejected one, in nats: the difference of the answers'
log-probabilities, which depends neither on a reference model nor on the tokenizer. Its rise in fine-tuning is the
implicit reward of DPO (Rafailov et al., 2023, https://arxiv.org/abs/2305.18290), but for the factor beta.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.champion.comparison import rows as examples_table
from modelmill.corpus import packing
from modelmill.corpus.packing import Example
from modelmill.measures import contamination
from modelmill.tasks.language_modeling.measuring import examples, losses
from modelmill.tasks.language_modeling.measuring.examples import Row
from modelmill.tasks.language_modeling.packed_windows import PackedTokens

PROMPT, GOOD, BAD = 0, 1, 2
# The kinds of examples, each of which is a set of rows.
KINDS = ("preferences", "labelled")


class Answers(NamedTuple):
    """A prompt with its answers.

    Attributes:
        number: Number of the example in the split.
        prompt: Token ids of the prompt.
        good: Token ids of the better answer; empty where there is only a bad one.
        bad: Token ids of the worse answer; empty where there is only a good one.
    """

    number: int
    prompt: np.ndarray
    good: np.ndarray
    bad: np.ndarray


class HeldOut(NamedTuple):
    """The held-out preferences, or labelled answers.

    Attributes:
        answers: Prompts with their answers.
        described: The columns of each that are the same for every model.
        windows: A document for each answer, its prompt before it; an example's good one first.
        sides: For each document with an answer its place in `answers`, and whether it is the good one.
        sizes: For each of `answers`, bytes of its good and of its bad answer.
    """

    answers: list[Answers]
    described: list[Row]
    windows: PackedTokens
    sides: list[tuple[int, bool]]
    sizes: list[tuple[int, int]]


def read(task: Any, kind: str, folder: Path) -> HeldOut:
    """Return the held-out preferences or labelled answers.

    Args:
        task: The task, as `make_task` returns it.
        kind: `preferences` or `labelled`.
        folder: A folder for files of this.
    """
    held_out = examples.of_split(task, "pairs", "test")
    answers = list(_answers(task, held_out))
    seen = contamination.of_tokens(held_out, examples.of_split(task, "pairs", "train"))
    parts = [part.tolist() for one in answers for part in (one.prompt, one.good, one.bad)]
    texts = examples.tokenizer_of(task).decode_batch(parts, skip_special_tokens=True)
    grouped = list(zip(texts[::3], texts[1::3], texts[2::3], strict=True))
    ids = examples_table.unique_ids(examples_table.id_of(*three) for three in grouped)
    sizes = [(len(good.encode()), len(bad.encode())) for _, good, bad in grouped]
    described = [
        {
            "example": example,
            "set": kind,
            "slices": _slices(kind, good, bad),
            "weight": 1.0,
            "contaminated": one.number in seen,
        }
        for one, example, (_, good, bad) in zip(answers, ids, grouped, strict=True)
    ]
    sides = [(n, side) for n, one in enumerate(answers) for side in (True, False) if len(one.good if side else one.bad)]
    return HeldOut(answers, described, _windows(task, answers, sides, folder), sides, sizes)


def rows_of(task: Any, model: torch.nn.Module, held_out: HeldOut, when: str, most: int) -> list[Row]:
    """Return a row for each preference or labelled answer, and in the set `pairs` one for each good answer.

    `score` is the margin of a preference, or the log-probability of an answer, of a bad one its negative. `correct` is
    whether the chosen answer of a preference is the likelier one.

    Args:
        task: The task, as `make_task` returns it.
        model: The model.
        held_out: The held-out examples.
        when: Name of the model: `before` or `after` fine-tuning.
        most: The most windows.
    """
    windows = held_out.windows
    runs = examples.runs_of(windows)
    nats, terms = losses.summed(task, model, windows, losses.by_run(windows, runs), len(runs.tokens), most)
    cut = losses.cut_document(windows, most)
    found: dict[int, dict[bool, tuple[float, float]]] = {}
    for run, (place, is_good) in enumerate(held_out.sides):
        if terms[run] and runs.documents[run] != cut:
            found.setdefault(place, {})[is_good] = (float(nats[run]), float(terms[run]))
    rows: list[Row] = []
    good_ones: list[Row] = []
    for place, scored in found.items():
        answers, known = held_out.answers[place], held_out.described[place] | {"model": when}
        is_preference = bool(len(answers.good) and len(answers.bad))
        if is_preference and len(scored) < 2:
            continue
        score = sum(-loss if is_good else loss for is_good, (loss, _) in scored.items())
        rows.append(known | {"score": score, "correct": score > 0 if is_preference else None})
        if True in scored:
            loss, weight = scored[True]
            size = float(held_out.sizes[place][0])
            good_ones.append(known | {"set": "pairs", "loss": loss, "weight": weight, "bytes": size})
    return rows + good_ones


def _answers(task: Any, held_out: PackedTokens) -> Iterator[Answers]:
    number = 0
    for shard in held_out.shards:
        sides = np.load(task.files[f"{shard.stem}.sides.npy"], mmap_mode="r", allow_pickle=False)
        for begin, end in itertools.pairwise(shard.offsets.tolist()):
            # A token that ends an answer may open the next example too.
            last = end + int(end < len(sides) and sides[end] != PROMPT)
            tokens, marks = shard.tokens[begin:last], np.array(sides[begin:last])
            marks[:1] = PROMPT
            if marks.any():
                yield Answers(number, *(np.array(tokens[marks == side]) for side in (PROMPT, GOOD, BAD)))
            number += 1


def _windows(task: Any, answers: list[Answers], sides: list[tuple[int, bool]], folder: Path) -> PackedTokens:
    """Return a document for each answer, packed as pairs are.

    Raises:
        ValueError: A prompt with its answer does not fit in a window.
    """
    end, length = task.corpus.info["end_of_text"], task.length
    asked = [Example(one.prompt, one.good if side else one.bad) for one, side in ((answers[n], s) for n, s in sides)]
    room = packing.room(length, shares_end=True)
    if any(len(one.given) + len(one.learned) > room for one in asked):
        raise ValueError(f"the corpus has an answer that does not fit in {length} tokens with its prompt")
    packed = packing.PairStream(end, length, packing.token_type(task.vocab_size)).pack(asked)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, array in packed._asdict().items():
        files[f"test/answers.{name}.npy"] = folder / f"{name}.npy"
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return PackedTokens(files, "test", "answers", length)


def _slices(kind: str, good: str, bad: str) -> list[str]:
    if kind == "labelled":
        return [f"length={examples.length_of(good or bad)}", f"label={'good' if good else 'bad'}"]
    sizes = len(good.encode()), len(bad.encode())
    longer = "chosen" if sizes[0] > sizes[1] else "rejected" if sizes[0] < sizes[1] else "neither"
    return [f"length={examples.length_of(good)}", f"longer={longer}"]


def risen(before: list[Row], after: list[Row]) -> float:
    """Return the share of preferences whose margin has risen in fine-tuning; one that stayed counts half.

    Args:
        before: Rows of the model before fine-tuning.
        after: Rows of the fine-tuned model, of the same examples.
    """
    was = {row["example"]: row["score"] for row in before if row["set"] == "preferences"}
    rises = [row["score"] - was[row["example"]] for row in after if row["set"] == "preferences"]
    return math.fsum(0.5 if rise == 0 else float(rise > 0) for rise in rises) / max(1, len(rises))
