"""Which of two answers a model finds likelier, and how likely it finds answers that are called good or bad.

A margin is how much more probable the chosen answer is than the rejected one, in nats: the difference of the answers'
log-probabilities, which depends neither on a reference model nor on the tokenizer. Its rise in fine-tuning is the
implicit reward of DPO (Rafailov et al., 2023, https://arxiv.org/abs/2305.18290), but for the factor beta.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.champion.comparison.rows import id_of, unique_ids
from modelmill.measures import contamination
from modelmill.tasks.language_modeling import prompt_sharing
from modelmill.tasks.language_modeling.measuring import conversations, examples
from modelmill.tasks.language_modeling.measuring.examples import Row
from modelmill.tasks.language_modeling.objectives import answer_scores
from modelmill.tasks.language_modeling.objectives.answer_files import FIRST, PROMPT, SECOND, AnswerFiles, Kind
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.training.device import hardware

# The kinds of examples, each of which is a set of rows.
KINDS: tuple[Kind, ...] = ("preferences", "labelled")


class Answered(NamedTuple):
    """A held-out prompt with its answers, as texts.

    Attributes:
        prompt: The prompt with its frame.
        good: The better answer; empty where there is only a bad one.
        bad: The worse answer; empty where there is only a good one.
    """

    prompt: str
    good: str
    bad: str


class HeldOut(NamedTuple):
    """The held-out preferences, or labelled answers.

    Attributes:
        files: Their tokens.
        kind: `preferences` or `labelled`.
        texts: Their texts.
        described: The columns of each that are the same for every model.
    """

    files: AnswerFiles
    kind: Kind
    texts: list[Answered]
    described: list[Row]


def read(task: Any, kind: Kind) -> HeldOut:
    """Return the held-out preferences or labelled answers.

    Args:
        task: The task, as `make_task` returns it.
        kind: `preferences` or `labelled`.
    """
    files = AnswerFiles(task.files, "test", kind, task.length)
    texts = _texts(task, files, kind)
    windows = examples.of_split(task, "pairs", "test")
    seen = contamination.of_tokens(windows, examples.of_split(task, "pairs", "train"))
    lines = conversations.lines_of(task.files, windows) or [{} for _ in texts]
    described = [
        {
            "example": example,
            "set": kind,
            "slices": [*_slices(kind, one), *conversations.slices_of(line)],
            "weight": 1.0,
            "contaminated": number in seen,
        }
        for one, example, line, number in zip(
            texts, unique_ids(id_of(*one) for one in texts), lines, _documents(task, windows), strict=True
        )
    ]
    return HeldOut(files, kind, texts, described)


def rows_of(task: Any, model: torch.nn.Module, held_out: HeldOut, when: str, most: int) -> list[Row]:
    """Return a row for each preference or labelled answer, and in the set `pairs` one for each good answer.

    `score` is the margin of a preference, or the log-probability of an answer, of a bad one its negative. `correct` is
    whether the chosen answer of a preference is the likelier one.

    Args:
        task: The task, which has loaded the model.
        model: The model.
        held_out: The held-out examples.
        when: Name of the model: `before` or `after` fine-tuning.
        most: The most rows of answers that are scored.
    """
    shares = prompt_sharing.is_right(model, task.way, task.vocab_size, task.length, hardware.pick_device())
    answers = AnswerRows(task.files, "test", held_out.kind, task.length, shares=shares)
    answers.rows = answers.rows[:most]
    found = answer_scores.of_split(task, model, answers).astype(np.float64)
    rows: list[Row] = []
    good: list[Row] = []
    for number in sorted(answers.examples(np.arange(len(answers))).tolist()):
        known = held_out.described[number] | {"model": when}
        is_good, (first, second) = bool(answers.files.is_good[number]), found[number].tolist()
        if held_out.kind == "preferences":
            rows.append(known | {"score": first - second, "correct": first > second})
        else:
            rows.append(known | {"score": first if is_good else -first})
        if is_good:
            terms, size = answers.files.part(number, FIRST)[1].sum(), len(held_out.texts[number].good.encode())
            good.append(known | {"set": "pairs", "loss": -first, "weight": float(terms), "bytes": float(size)})
    return rows + good


def risen(before: list[Row], after: list[Row]) -> float:
    """Return the share of preferences whose margin has risen in fine-tuning; one that stayed counts half.

    Args:
        before: Rows of the model before fine-tuning.
        after: Rows of the fine-tuned model, of the same examples.
    """
    was = {row["example"]: row["score"] for row in before if row["set"] == "preferences"}
    rises = [row["score"] - was[row["example"]] for row in after if row["set"] == "preferences"]
    return math.fsum(0.5 if rise == 0 else float(rise > 0) for rise in rises) / max(1, len(rises))


def _texts(task: Any, files: AnswerFiles, kind: Kind) -> list[Answered]:
    parts = [files.part(n, side)[0].tolist() for n in range(len(files)) for side in (PROMPT, FIRST, SECOND)]
    texts = examples.tokenizer_of(task).decode_batch(parts, skip_special_tokens=True)
    found = []
    for prompt, first, second, is_good in zip(texts[::3], texts[1::3], texts[2::3], files.is_good, strict=True):
        if kind == "preferences":
            found.append(Answered(prompt, first, second))
        else:  # the second is another example's
            found.append(Answered(prompt, first if is_good else "", "" if is_good else first))
    return found


def _documents(task: Any, windows: Any) -> list[int]:
    """Return the number within the split of each example's document; the others fill windows."""
    found, earlier = [], 0
    for shard in windows.shards:
        sides = np.load(task.files[f"{shard.stem}.sides.npy"], mmap_mode="r", allow_pickle=False)
        has_answer = np.add.reduceat(sides[: shard.offsets[-1]] > 0, shard.offsets[:-1]) > 0
        found += (earlier + np.flatnonzero(has_answer)).tolist()
        earlier += shard.documents
    return found


def _slices(kind: Kind, one: Answered) -> list[str]:
    length = f"length={examples.length_of(one.good or one.bad)}"
    if kind == "labelled":
        return [length, f"label={'good' if one.good else 'bad'}"]
    good, bad = len(one.good.encode()), len(one.bad.encode())
    return [length, f"longer={'chosen' if good > bad else 'rejected' if good < bad else 'neither'}"]
