"""What a language model answers to held-out prompts."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import samples
from modelmill.measures.samples import Sample
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import LanguageEvaluation


def generate(task: Any, model: Any, pairs: Any, corpus: Manifest, settings: LanguageEvaluation) -> list[Sample]:
    """The model's greedy response to the first prompts of the held-out pairs, beside the true one."""
    from transformers import PreTrainedTokenizerFast

    end, stop = corpus.info["end_of_text"], corpus.info["frame"]["stop"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(task.files["tokenizer/tokenizer.json"]))
    found = []
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
        found.append(
            samples.text(
                prompt=tokenizer.decode(prompt, skip_special_tokens=True),
                expected=tokenizer.decode(expected, skip_special_tokens=True),
                generated=tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True),
            )
        )
    return found


def _first_pairs(pairs: Any, count: int) -> list[tuple[list[int], list[int]]]:
    """Ids of the first held-out pairs: the prompt with what stands around it, and what is learned."""
    found: list[tuple[list[int], list[int]]] = []
    for shard in pairs.shards:
        for begin, end in zip(shard.offsets[:-1].tolist(), shard.offsets[1:].tolist(), strict=True):
            if len(found) == count:
                return found
            learned = np.flatnonzero(shard.learned[begin + 1 : end])
            if len(learned):
                first = begin + 1 + int(learned[0])
                found.append((shard.tokens[begin:first].tolist(), shard.tokens[first:end].tolist()))
    return found
