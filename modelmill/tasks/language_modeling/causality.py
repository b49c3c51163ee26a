"""The check that a model is causal: later tokens change no earlier loss."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from modelmill.core.errors import UserError
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.scores import NATS, largest, losses_of
from modelmill.tasks.language_modeling.specimen import Specimen


@torch.no_grad()
def require_causal(specimen: Specimen, batch: Batch, where: str) -> None:
    """Check that later tokens change no earlier loss.

    Raises:
        UserError: They do.
    """
    specimen.model.set_attn_implementation(ways.EAGER)
    half = batch["input_ids"].shape[1] // 2
    changed = batch["input_ids"].clone()
    changed[:, half:] = (changed[:, half:] + 1) % specimen.tokens
    outputs: list[list[torch.Tensor]] = []
    logits = []
    for tokens in (batch["input_ids"], changed):
        with _outputs_of_blocks(specimen) as seen:
            logits.append(specimen.model(**ways.unshared(specimen.model, tokens)).logits[:, :half])
        outputs.append(seen)
    losses = [losses_of(one, {"labels": batch["labels"][:, :half]}) for one in logits]
    if (nats := largest(*losses)) > NATS:
        differ = [n for n, (a, b) in enumerate(zip(*outputs, strict=True)) if largest(a[:, :half], b[:, :half]) > NATS]
        raise UserError(
            f"{where}: {type(specimen.model).__name__} is not a causal language model: tokens change the loss of "
            f"earlier ones by {nats:.2g} nats, in {name_of_block(specimen, differ)}; take a decoder, or set is_decoder "
            "in its config.json if it is one"
        )


@contextlib.contextmanager
def _outputs_of_blocks(specimen: Specimen) -> Iterator[list[torch.Tensor]]:
    """Enter a block in which the outputs of the model's blocks are collected."""
    outputs: list[torch.Tensor] = []

    def collect(module: Any, inputs: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if torch.is_tensor(tensor) and tensor.ndim == 3:
            outputs.append(tensor)

    hooks = [block.register_forward_hook(collect) for block in specimen.blocks]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def name_of_block(specimen: Specimen, numbers: list[int] | None = None) -> str:
    """Return the name of the first of some blocks, by default of the first of all."""
    if not specimen.blocks:
        return "the whole network"
    number = (numbers or [0])[0]
    return f"block {number} ({type(specimen.blocks[number]).__name__})"
