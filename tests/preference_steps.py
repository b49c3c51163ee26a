"""Preferences, labelled answers and conversations on their way through the steps, with a tiny chat model."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.chat_models import CHATML, MARKS, write_chat_model
from tests.component.steps import Steps
from tests.recipes import language_recipe

Row = dict[str, Any]
ROWS = 36
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def preference(number: int) -> Row:
    return {"prompt": f"Box {number}?", "chosen": f"scale {number}", "rejected": f"import math {number * 3}"}


def labelled(number: int) -> Row:
    answers = preference(number)
    is_good = number % 2 == 0
    return {"prompt": answers["prompt"], "completion": answers["chosen" if is_good else "rejected"], "label": is_good}


def conversation(number: int) -> Row:
    answers = preference(number)
    said = [("user", answers["prompt"]), ("assistant", answers["chosen"]), ("user", "And?"), ("assistant", "total")]
    return {"messages": [{"role": role, "content": content} for role, content in said]}


ROW = {"preferences": preference, "labelled": labelled, "messages": conversation}


def write_model(folder: Path, seed: int = 0, template: str = CHATML) -> Path:
    """A tiny Llama with random weights that stand apart, and the tokenizer of a chat model."""
    write_chat_model(folder, template, eos_token="<|im_end|>")
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=340 + len(MARKS), max_position_embeddings=128, initializer_range=0.2, **SIZES)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_rows(folder: Path, rows: list[Row], shards: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        lines = [json.dumps(row) + "\n" for row in rows[shard::shards]]
        (folder / f"part-{shard:02d}.jsonl").write_text("".join(lines))
    return folder


def write_recipe(folder: Path, objective: str, source: str, model: Path, **changes: Any) -> Path:
    """A recipe that fine-tunes the model on its own data, in fp32; `changes` as `tests.recipes.write` has them."""
    data = write_rows(folder / "data", [ROW[source](number) for number in range(ROWS)])
    metric = {"preferences": "preference_accuracy", "labelled": "label_margin"}.get(source, "response_bits_per_byte")
    bound = {"max": 100.0} if source == "messages" else {"min": -1000.0}
    settings = {
        "preprocessing__split_by": None,
        "preprocessing__test": 0.3,
        "preprocessing__sequence_length": 96,
        "preprocessing__tokenizer": {"from": str(model)},
        "preprocessing__pairs": {"from": source, "framing": "chat"},
        "pretraining__init": str(model),
        "pretraining__steps": 0,
        "fine_tuning__objective": objective,
        "fine_tuning__precision": "fp32",
        "fine_tuning__lora__target_modules": "all-linear",
        "evaluation__documents": False,
        "evaluation__gate": {metric: bound},
        "evaluation__samples": 1,
        "evaluation__sample_tokens": 4,
    }
    return language_recipe(folder, data, **{**settings, **changes})


class Tuned:
    """A recipe's steps as far as fine-tuning, over a store of their own."""

    def __init__(self, recipe: Path, folder: Path, *overrides: str) -> None:
        self.recipe = recipe
        self.steps = Steps(recipe, folder, *overrides)
        self.corpus = self.steps.corpus()
        self.pretrained = self.steps.pretrained(self.corpus)
        self.model = self.steps.tuned(self.corpus, self.pretrained)
