"""What a model says to held-out prompts, as it would when served."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelmill.tasks.serving.generation import Asked, Generator
from modelmill.tasks.serving.settings import Sampling


def answers(task: Any, model: Any, asked: Sequence[tuple[list[int], int]]) -> list[list[int]]:
    """Return the token ids of the model's greedy answers, without what ends them.

    Args:
        task: The task, as `make_task` returns it.
        model: The causal language model.
        asked: The token ids of each prompt, and the most tokens of its answer; the window's room limits it, too.
    """
    prompts = [Asked(ids, min(most, max(1, task.length - len(ids)))) for ids, most in asked]
    said = Generator(model, ends_of(task.corpus.info)).answers(prompts, Sampling())
    return [answer.ids for answer in said]


def ends_of(info: Mapping[str, Any]) -> list[int]:
    """Return the ids that end an answer.

    Args:
        info: What a corpus's manifest says of it.
    """
    frame = info["frame"]
    return sorted({info["end_of_text"], frame["stop"], *frame.get("stops", [])})
