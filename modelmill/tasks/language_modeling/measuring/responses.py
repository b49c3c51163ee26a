"""Held-out responses, of pairs or of whole conversations turn by turn."""

from typing import Any, NamedTuple

import torch

from modelmill.measures.breakdown import PART, PARTS
from modelmill.tasks.language_modeling.measuring import conversations, examples, losses
from modelmill.tasks.language_modeling.measuring.conversations import Talk
from modelmill.tasks.language_modeling.measuring.examples import Row, Runs
from modelmill.tasks.language_modeling.packed_windows import PackedTokens


class HeldOut(NamedTuple):
    """The held-out pairs or conversations.

    Attributes:
        windows: Their tokens.
        described: The columns of each that are the same for every model, by its number.
        runs: Their runs of learned tokens.
        talks: The conversations; none for pairs.
        sizes: Bytes of text of each run.
    """

    windows: PackedTokens
    described: dict[int, Row]
    runs: Runs
    talks: list[Talk]
    sizes: list[int]


def read(task: Any, are_conversations: bool) -> HeldOut:
    """Return the held-out pairs or conversations.

    Args:
        task: The task, as `make_task` returns it.
        are_conversations: Whether they are conversations.
    """
    windows = examples.of_split(task, "pairs", "test")
    described = examples.described(task, "pairs", windows)
    runs = examples.runs_of(windows)
    if not are_conversations:
        return HeldOut(windows, described, runs, [], [])
    texts = examples.tokenizer_of(task).decode_batch([run.tolist() for run in runs.tokens], skip_special_tokens=True)
    talks = conversations.read(task.files, windows, runs)
    for talk in talks:
        described[talk.number]["slices"] += talk.slices
    return HeldOut(windows, described, runs, talks, [len(text.encode()) for text in texts])


def rows_of(task: Any, model: torch.nn.Module, held_out: HeldOut, when: str, most: int) -> list[Row]:
    """Return a row for each pair or conversation, and for conversations one for each learned turn, in the set `turns`.

    Args:
        task: The task, as `make_task` returns it.
        model: The model.
        held_out: The held-out examples.
        when: Name of the model: `before` or `after` fine-tuning.
        most: The most windows.
    """
    windows, runs = held_out.windows, held_out.runs
    if not held_out.talks:
        return losses.rows_of(task, model, windows, held_out.described, when, most)
    owners = losses.by_run(windows, runs)
    nats, terms = losses.summed(task, model, windows, owners, len(runs.tokens), most)
    cut = losses.cut_document(windows, most)
    rows: list[Row] = []
    turns: list[Row] = []
    for talk in held_out.talks:
        known = held_out.described[talk.number] | {"model": when}
        its = [turn.run for turn in talk.turns]
        if talk.number == cut or not terms[its].all():
            continue
        size = float(sum(held_out.sizes[run] for run in its))
        rows.append(known | {"loss": float(nats[its].sum()), "weight": float(terms[its].sum()), "bytes": size})
        turns += [
            known
            | {
                "example": f"{known['example']}{PART}{turn.run - its[0]}",
                "set": PARTS,
                "slices": turn.slices,
                "loss": float(nats[turn.run]),
                "weight": float(terms[turn.run]),
                "bytes": float(held_out.sizes[turn.run]),
            }
            for turn in talk.turns
        ]
    return rows + turns
