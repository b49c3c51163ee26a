"""Samples of a language model: its responses to held-out prompts."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import samples
from modelmill.measures.samples import Sample
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import LanguageEvaluation


def generate(task: Any, model: Any, pairs: Any, corpus: Manifest, settings: LanguageEvaluation) -> list[Sample]:
    """Return the model's greedy responses to the first prompts of the held-out pairs, beside the true ones.

    Args:
        task: The task, as `make_task` returns it.
        model: The causal language model.
        pairs: The held-out pairs.
        corpus: Manifest of the corpus.
        settings: The recipe's section.
    """
    from transformers import PreTrainedTokenizerFast

    end, stop = corpus.info["end_of_text"], corpus.info["frame"]["stop"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(task.files["tokenizer/tokenizer.json"]))
    shown = []
    for prompt, expected in _first_pairs(pairs, settings.samples):
        inputs = torch.tensor([prompt], device=next(model.parameters()).device)
        room = max(1, task.length - len(prompt))
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=min(settings.sample_tokens, room),
            do_sample=False,
            eos_token_id=sorted({end, stop}),
            pad_token_id=end,
        )
        shown.append(
            samples.text(
                prompt=tokenizer.decode(prompt, skip_special_tokens=True),
                expected=tokenizer.decode(expected, skip_special_tokens=True),
                generated=tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True),
            )
        )
    return shown


def _first_pairs(pairs: Any, count: int) -> list[tuple[list[int], list[int]]]:
    """Return the ids of the first held-out pairs: the framed prompt, and the learned response."""
    first_pairs: list[tuple[list[int], list[int]]] = []
    for shard in pairs.shards:
        for begin, end in zip(shard.offsets[:-1].tolist(), shard.offsets[1:].tolist(), strict=True):
            if len(first_pairs) == count:
                return first_pairs
            learned = np.flatnonzero(shard.learned[begin + 1 : end])
            if len(learned):
                first = begin + 1 + int(learned[0])
                first_pairs.append((shard.tokens[begin:first].tolist(), shard.tokens[first:end].tolist()))
    return first_pairs
