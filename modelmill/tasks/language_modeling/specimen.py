"""A small copy of a model that computes what the model does: its first blocks and its first tokens.

Blocks of one kind compute alike, so a copy with one of each tells as much as the whole model, and takes little time and
memory. A copy in fp32 with larger weights shows what rounding or small weights would hide.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from modelmill.models.blocks import by_kind

# The tokens that a copy knows, and the fewest blocks of it.
TOKENS, BLOCKS = 1024, 2
# Settings that limit what a token sees. They are made shorter, so that short sequences show them.
WINDOWS = ("sliding_window", "attention_window_size", "attention_chunk_size", "window_size")
SHORT = 7
# The least root mean square of a product's output per input, and the noise on everything that is not a matrix: scores
# are then large enough for soft caps to show.
GAIN, NOISE = 2.0, 0.1


class Specimen:
    """A small copy of a model.

    Attributes:
        model: The copy, in fp32 and for evaluation.
        blocks: Its blocks, in order; empty if they are not known.
        tokens: How many tokens it knows.
    """

    def __init__(
        self, model: Any, tokens: int, length: int, sample: int, device: torch.device, *, is_whole: bool
    ) -> None:
        """Copy the parts of a model.

        Args:
            model: The model; it is left as it was.
            tokens: Size of the tokenizer.
            length: Tokens of a sequence in training.
            sample: Tokens of a sequence that the copy will be given.
            device: Where the copy will be.
            is_whole: Whether all blocks are copied, for a model that cannot do without.
        """
        self.tokens = min(tokens, TOKENS)
        blocks = _blocks(model)
        count = 0 if blocks is None else len(blocks) if is_whole else _enough(blocks)
        with _first_blocks(blocks, count), _first_tokens(model, TOKENS):
            self.model = copy.deepcopy(model).to(device).float().eval()
        self.blocks: list[nn.Module] = list(_blocks(self.model) or ())
        _show_windows(self.model, length, sample)

    @torch.no_grad()
    def stir(self) -> None:
        """Make small weights larger and give everything else some noise, in place."""
        random = torch.Generator().manual_seed(0)
        for weight in self.model.parameters():
            if weight.ndim < 2:
                weight += NOISE * torch.randn(weight.shape, generator=random).to(weight.device)
                continue
            wanted = GAIN * weight.shape[-1] ** -0.5
            size = weight.square().mean().sqrt().item()
            if not size:
                weight += wanted * torch.randn(weight.shape, generator=random).to(weight.device)
            elif size < wanted:
                weight *= wanted / size


def _blocks(model: nn.Module) -> nn.ModuleList | None:
    """Return the list of a model's blocks: the one with the most weights that lies in no other."""
    outer: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) and not any(name.startswith(f"{o}.") for o in outer):
            outer[name] = module
    return max(outer.values(), key=lambda one: sum(p.numel() for p in one.parameters()), default=None)


def _enough(blocks: nn.ModuleList) -> int:
    """Return the number of blocks from the first that has one of each kind."""
    return max(BLOCKS, *(numbers[0] + 1 for numbers in by_kind(list(blocks))))


@contextlib.contextmanager
def _first_blocks(blocks: nn.ModuleList | None, count: int) -> Iterator[None]:
    """Enter a block in which the list has its first entries only."""
    if blocks is None:
        yield
        return
    whole = dict(blocks._modules)
    for name in list(whole)[count:]:
        del blocks._modules[name]
    try:
        yield
    finally:
        blocks._modules.clear()
        blocks._modules.update(whole)


@contextlib.contextmanager
def _first_tokens(model: Any, count: int) -> Iterator[None]:
    """Enter a block in which embedding and head know the first tokens only, where both are plain."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_plain = isinstance(embedding, nn.Embedding) and isinstance(head, nn.Linear)
    if not is_plain or not len(embedding.weight) == len(head.weight) > count:
        yield
        return
    held = [(module, dict(module._parameters)) for module in {embedding, head}]
    fewer = nn.Parameter(embedding.weight[:count].detach().clone())
    is_tied = head.weight is embedding.weight
    embedding._parameters["weight"] = fewer
    head._parameters["weight"] = fewer if is_tied else nn.Parameter(head.weight[:count].detach().clone())
    if head.bias is not None:
        head._parameters["bias"] = nn.Parameter(head.bias[:count].detach().clone())
    try:
        yield
    finally:
        for module, parameters in held:
            module._parameters.update(parameters)


def _show_windows(model: nn.Module, length: int, sample: int) -> None:
    """Shorten the windows that act at the length of training, so that they act in the sample."""
    holders = [module for module in model.modules()] + _configurations(model)
    for holder in holders:
        for name in WINDOWS:
            value = vars(holder).get(name)
            if type(value) is int and SHORT < value < length:
                setattr(holder, name, SHORT)
        ropes = vars(holder).get("rope_parameters")
        known = ropes.get("original_max_position_embeddings") if isinstance(ropes, dict) else None
        if isinstance(ropes, dict) and known and known < length:
            # What is rotated in another way beyond a length.
            ropes["original_max_position_embeddings"] = sample // 2


def _configurations(model: nn.Module) -> list[Any]:
    """Return the configurations of a model and of its parts, each once."""
    held = {id(c): c for module in model.modules() if (c := getattr(module, "config", None)) is not None}
    return list(held.values())
