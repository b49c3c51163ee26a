"""Held-out files and pairs: bits per byte, loss before and after fine-tuning, generated samples."""

import math
from typing import Any

import numpy as np
import torch

from components.common.manifest import Manifest
from components.common.recipe.language_modeling import LanguageEvaluation, LanguageModelingRecipe
from components.common.step import Step
from components.evaluation.step import FINE_TUNED, PRETRAINED
from components.training import device as devices
from components.training import stage
from components.training.feeding import to_device
from components.training.task import Examples, Task

BATCH = 16


def evaluate(step: Step, task: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and `samples.json`.

    `bits_per_byte` is of the pretrained model (of the fine-tuned one where nothing was pretrained) over every token
    of the held-out files; the losses are mean nats per response token of held-out pairs.
    """
    recipe = step.recipe
    assert isinstance(recipe, LanguageModelingRecipe)
    settings = recipe.evaluation
    corpus, pretrained, tuned = (step.inputs[name] for name in ("preprocessing.corpus", PRETRAINED, FINE_TUNED))
    documents = task.examples("pretraining", "test")
    pairs = task.examples("fine_tuning", "test")
    was_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"

    base = _load(step, task, pretrained if pretrained.entries else tuned)
    step.progress(0, 3, "bits per byte")
    nats, _ = total_loss(task, base, documents, len(documents))
    metrics = {"bits_per_byte": nats / math.log(2) / corpus.info["splits"]["test"]["bytes"]}
    if not was_tuned or not len(pairs):
        return metrics, {"samples.json": []}
    if pretrained.entries:
        step.progress(1, 3, "held-out pairs, before fine-tuning")
        metrics["loss_before"] = mean_loss(task, base, pairs, settings.pair_windows)
    step.progress(2, 3, "held-out pairs, after fine-tuning")
    model = _load(step, task, tuned)
    metrics["loss_after"] = mean_loss(task, model, pairs, settings.pair_windows)
    return metrics, {"samples.json": _samples(task, model, pairs, corpus, settings)}


def mean_loss(task: Task, model: torch.nn.Module, examples: Examples, most: int) -> float:
    total, terms = total_loss(task, model, examples, most)
    return total / max(1, terms)


@torch.no_grad()
def total_loss(task: Task, model: torch.nn.Module, examples: Examples, most: int) -> tuple[float, int]:
    """Summed loss in nats, in fp32, and the tokens it is of, over the first `most` windows of a split."""
    device = next(model.parameters()).device
    total, terms = 0.0, 0
    for first in range(0, min(most, len(examples)), BATCH):
        indices = np.arange(first, min(first + BATCH, most, len(examples)))
        batch = examples.batch(indices)
        terms += task.terms(batch)
        total += task.loss(model, to_device(batch, device)).item()
    return total, terms


def _load(step: Step, task: Task, model: Manifest) -> torch.nn.Module:
    return task.load(stage.fetch_model(step, model)).to(devices.pick_device()).eval()


def _samples(task: Any, model: Any, pairs: Any, corpus: Manifest, settings: LanguageEvaluation) -> list[dict[str, str]]:
    """The model's greedy response to the first prompts of the held-out pairs, beside the true one."""
    from transformers import PreTrainedTokenizerFast

    end, stop = corpus.info["end_of_text"], corpus.info["frame"]["stop"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(task.files["tokenizer/tokenizer.json"]))
    samples = []
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
        samples.append(
            {
                "prompt": tokenizer.decode(prompt, skip_special_tokens=True),
                "expected": tokenizer.decode(expected, skip_special_tokens=True),
                "generated": tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True),
            }
        )
    return samples


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
