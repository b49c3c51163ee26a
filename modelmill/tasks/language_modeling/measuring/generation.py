"""Greedy answers of a language model to many prompts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

# Answers that are generated together.
AT_ONCE = 8
# Tokens of an answer that are tried alone and together.
TRIED = 3
# Largest difference that padding may make to logits, as a fraction of the largest: with fp32, and with fewer bits.
PADDING, PADDING_HALF = 1e-4, 3e-2


class Asked(NamedTuple):
    """A prompt.

    Attributes:
        prompt: Token ids.
        most: The most tokens of the answer.
    """

    prompt: list[int]
    most: int


def ends_of(info: Mapping[str, Any]) -> list[int]:
    """Return the ids that end an answer, the end of text first.

    Args:
        info: What a corpus's manifest says of it.
    """
    frame = info["frame"]
    return list(dict.fromkeys([info["end_of_text"], frame["stop"], *frame.get("stops", [])]))


def answers(model: Any, asked: Sequence[Asked], ends: Sequence[int]) -> list[list[int]]:
    """Return the token ids of the answers, without what ends them.

    Prompts of about the same length are answered together, padded on the left, if that does not change what the model
    says; else each is answered alone. The model's own generation settings, such as a repetition penalty, do not count,
    as they do not when it is served.

    Args:
        model: The causal language model.
        asked: The prompts.
        ends: Ids that end an answer; the first of them pads.
    """
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()
    order = sorted(range(len(asked)), key=lambda place: len(asked[place].prompt))
    prompts = [asked[place].prompt for place in order]
    size = AT_ONCE if len(order) > 1 and _can_pad(model, prompts[0], prompts[-1], ends) else 1
    found: dict[int, list[int]] = {}
    for first in range(0, len(order), size):
        group = order[first : first + size]
        most = max(asked[place].most for place in group)
        output = _generate(model, [asked[place].prompt for place in group], most, ends).sequences
        for place, ids in zip(group, output[:, len(asked[group[-1]].prompt) :].tolist(), strict=True):
            found[place] = _ended(ids, ends)[: asked[place].most]
    return [found[place] for place in range(len(asked))]


def _ended(ids: list[int], ends: Sequence[int]) -> list[int]:
    """Return an answer up to the token that ends it."""
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def _can_pad(model: Any, short: list[int], long: list[int], ends: Sequence[int]) -> bool:
    """Return whether the model gives the shorter prompt the same logits alone and beside the longer one, padded."""
    alone = _generate(model, [short], TRIED, ends, logits=True).logits
    together = _generate(model, [short, long], TRIED, ends, logits=True).logits
    most = PADDING if next(model.parameters()).dtype == torch.float32 else PADDING_HALF
    return all(
        bool((one[0] - both[0]).abs().max() <= most * one.abs().max())
        for one, both in zip(alone, together, strict=False)
    )


def _generate(model: Any, prompts: list[list[int]], most: int, ends: Sequence[int], logits: bool = False) -> Any:
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    padded = [[ends[0]] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return model.generate(
        torch.tensor(padded, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=max(1, most),
        do_sample=False,
        eos_token_id=sorted(set(ends)),
        pad_token_id=ends[0],
        return_dict_in_generate=True,
        output_logits=logits,
    )
