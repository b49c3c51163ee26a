"""The table of families in docs/model-families.md: which models are trained, how they are fed, and how fast.

    python -m benchmarks.model_families --write

Each family is tried as a tiny model with random weights, in fp32 on a CPU with one thread. Speed is that of forward and
backward passes over packed windows in the way that was proven, beside transformers' own default attention over the same
documents, one a row and padded; in models so small it says little more than how much padding and how many calls there
are.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from modelmill.core.errors import UserError
from modelmill.models.cross_entropy import IGNORED
from modelmill.tasks.language_modeling import proof, ways
from modelmill.tasks.language_modeling.ways import Way
from tests import families

CPU = torch.device("cpu")
PAGE = Path(__file__).parents[1] / "docs" / "model-families.md"
LENGTH, WINDOWS, ROUNDS = 128, 8, 3
HEAD = """# Families of language models

Any causal language model that `transformers` reads can be `pretraining.init`. Before it is trained, a self-test on a
small copy of it (its first blocks, one of each kind, in fp32) compares losses and gradients on random tokens with
transformers' eager attention over each document alone, and takes the fastest way of feeding that gives the same; the
model's manifest and the report name it. `modelmill plan RECIPE --check-model` does the same before anything is spent.
What no way computes right is refused. A way is one of:

- **packed** windows, with Modelmill's attention or transformers' own, and masks that keep documents apart;
- **padded**: one document a row, rows padded to few lengths and grouped by them, for models that carry a state from
  token to token or take no mask of pairs. Examples, batches and steps are those of packed windows. Where the kernels of
  recurrent layers are installed (mamba-ssm and causal-conv1d, or flash-linear-attention, on a GPU), windows stay packed
  and the kernels reset the state; the self-test decides, and no row below is of such a machine;
- **alone**: the same without padding, rows of equal length together.

The table is made by `python -m benchmarks.model_families --write` from tiny models with random weights, transformers
{version}. Speed is relative to transformers' default attention on the same documents, one a row and padded, forward and
backward, fp32, one CPU thread; of models so tiny it is rough. LoRA is `peft`'s on all linear modules. Families that are
missing could not be made small by rules, or need more than text.

| Family | Full | LoRA | Way | Attention and mask | Speed |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Print the table, or write it into the page."""
    import transformers

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(50)
    lines = []
    for family in families.all_families():
        try:
            model = families.model_of(family)
        except Exception as error:  # a configuration that the rules do not fit
            print(f"{family}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
            continue
        lines.append(row(family, model))
        print(lines[-1], flush=True)
    if "--write" in sys.argv:
        PAGE.write_text(HEAD.format(version=transformers.__version__) + "\n".join(lines) + "\n", "utf-8")


def row(family: str, model: Any) -> str:
    """Return a family's row."""
    try:
        way = proof.prove(model, families.VOCABULARY, LENGTH, family, CPU).way
    except UserError as error:
        why = str(error).partition(": ")[2].partition("; ")[0]
        return f"| `{family}` | refused | refused | | {why} | |"
    batch = documents()
    theirs = seconds(model, lambda: padded_loss(model, batch))
    proof.apply(way, model, CPU)
    ours = seconds(model, lambda: loss(way, model, batch))
    _, attention, *rest = way.words.replace("one document a row, ", "").split(", ")
    how = ", ".join([attention, *(part for part in rest if "logits" not in part)])
    full = "yes" if math.isfinite(ours) else "no"
    speed = f"{theirs / ours:.2f}" if math.isfinite(theirs / ours) else ""
    return f"| `{family}` | {full} | {lora(way, model, batch)} | {way.feeding} | {how} | {speed} |"


def documents() -> dict[str, torch.Tensor]:
    """Return packed windows of random documents."""
    random = np.random.default_rng(0)
    tokens = torch.from_numpy(random.integers(1, families.VOCABULARY, (WINDOWS, LENGTH + 1)))
    begins = random.random((WINDOWS, LENGTH)) < 1 / 32
    begins[:, 0] = True
    starts = np.maximum.accumulate(np.where(begins, np.arange(LENGTH), 0), axis=1)
    positions = torch.from_numpy(np.arange(LENGTH) - starts)
    return {"input_ids": tokens[:, :-1].contiguous(), "labels": tokens[:, 1:].contiguous(), "position_ids": positions}


def loss(way: Way, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss in the way that was proven."""
    return F.cross_entropy(ways.logits(way, model, batch).flatten(0, 1), batch["labels"].flatten())


def padded_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss as transformers' collators have it computed: one document a row, padded, with a mask."""
    places = torch.nonzero(batch["position_ids"].flatten() == 0).flatten()
    sizes = torch.diff(places, append=torch.tensor([batch["labels"].numel()])).tolist()
    tokens = pad_sequence(batch["input_ids"].flatten().split(sizes), batch_first=True)
    labels = pad_sequence(batch["labels"].flatten().split(sizes), batch_first=True, padding_value=IGNORED)
    inputs = ways.unshared(model, tokens) | {"attention_mask": (labels != IGNORED).long()}
    return F.cross_entropy(model(**inputs).logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def seconds(model: Any, compute: Callable[[], torch.Tensor]) -> float:
    """Return the least time of a forward and backward pass; NaN where it cannot be computed."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        try:
            compute().backward()
        except Exception:  # what a family's own code cannot do
            return float("nan")
        model.zero_grad()
        times.append(time.perf_counter() - began)
    return min(times)


def lora(way: Way, model: Any, batch: dict[str, torch.Tensor]) -> str:
    """Return whether adapters on all linear modules get gradients."""
    from peft import LoraConfig, get_peft_model

    try:
        get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        loss(way, model, batch).backward()
    except Exception as error:  # what peft cannot adapt
        return f"no: {type(error).__name__}"
    return "yes" if any(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad) else "no"


if __name__ == "__main__":
    main()
