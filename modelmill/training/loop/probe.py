"""The cost of one example, measured on one: FLOPs, and the memory that waits for its backward pass."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from modelmill.models.blocks import by_kind

# Weights of a model for which a step on one example takes longer than looking at its shapes.
LARGE = 100_000_000


class Cost(NamedTuple):
    """The cost of one example.

    Attributes:
        flops: FLOPs of forward and backward pass.
        kept_bytes: Bytes kept from one to the other.
    """

    flops: float
    kept_bytes: int


def measure(loss: Callable[[], torch.Tensor], blocks: list[nn.Module]) -> Cost:
    """Run the loss of one example forward and backward, and return its cost; random generators are left as they were.

    FLOPs are those of matrix products, attention and recurrent layers, two for each multiplication, as in the PaLM
    paper's model FLOPs (Chowdhery et al., 2022, https://arxiv.org/abs/2204.02311, appendix B); recomputed work counts
    once.

    Args:
        loss: Computes the loss of one example.
        blocks: Blocks whose inputs are counted by themselves, as no hook shows them where blocks are recomputed.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[storage._cdata] = storage.nbytes()
        return tensor

    def enter(module: nn.Module, inputs: Any, named: Any) -> None:
        for value in (*inputs, *named.values()):
            if torch.is_tensor(value):
                keep(value)

    hooks = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    try:
        with torch.random.fork_rng(), FlopCounterMode(display=False, custom_mapping=_UNKNOWN) as counter:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                total = loss()
            total.backward()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(float(counter.get_total_flops()), sum(kept.values()))


def measure_without_computing(loss: Callable[[], torch.Tensor], blocks: list[nn.Module]) -> Cost | None:
    """Return the cost of one example from the shapes alone; None where shapes depend on values, as those of experts do.

    Of blocks that compute alike only two are looked at.

    Args:
        loss: See `measure`.
        blocks: See `measure`.
    """
    groups = by_kind(blocks)
    for measured in (lambda: _by_kind(loss, blocks, groups), lambda: measure(loss, blocks)):
        # Suppressed: an operation that needs values, or blocks that need each other.
        with contextlib.suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True):
            return measured()
    return None


def _by_kind(loss: Callable[[], torch.Tensor], blocks: list[nn.Module], groups: list[list[int]]) -> Cost:
    """Return the cost of one example: with one block of each kind, and for the others what a second one adds.

    Raises:
        ValueError: Blocks cannot be left out.
    """
    first = {numbers[0] for numbers in groups}
    with _only(blocks, first):
        total = base = measure(loss, blocks)
    for numbers in groups:
        if others := len(numbers) - 1:
            with _only(blocks, first | {numbers[1]}):
                more = measure(loss, blocks)
            flops, kept = more.flops - base.flops, more.kept_bytes - base.kept_bytes
            total = Cost(total.flops + others * flops, total.kept_bytes + others * kept)
    return total


@contextlib.contextmanager
def _only(blocks: list[nn.Module], wanted: set[int]) -> Iterator[None]:
    """Enter a block of code in which all other blocks hand on what they are given."""

    def hand_on(hidden: Any = None, *others: Any, **named: Any) -> Any:
        hidden = named.get("hidden_states") if hidden is None else hidden
        if not returned or not torch.is_tensor(hidden):
            raise ValueError("what the blocks take or return is not known")
        return (hidden,) if returned[0] is tuple else hidden

    def note(block: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_tensor(output) and not (isinstance(output, tuple) and len(output) == 1):
            raise ValueError("blocks return more than their hidden states")
        returned.append(type(output) if isinstance(output, tuple) else torch.Tensor)

    returned: list[type] = []
    hooks = [blocks[number].register_forward_hook(note) for number in wanted]
    left_out = [block for number, block in enumerate(blocks) if number not in wanted]
    before = [vars(block).get("forward") for block in left_out]
    for block in left_out:
        block.forward = hand_on
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for block, forward in zip(left_out, before, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward


def _forward_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    batch, heads, length, width = query
    return int(2 * batch * heads * length * key[2] * (width + value[3]))


def _backward_flops(grad: Any, query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kw: Any) -> int:
    return 2 * _forward_flops(query, key, value)


def _none(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 0


_KERNELS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
# The counter lacks some of them, and grouped keys in PyTorch 2.11, and counts backward the scores that
# kernels compute again. Attention within documents is counted over all pairs, where PyTorch's own is asked for.
_ATTENTION = (
    {getattr(torch.ops.aten, f"_scaled_dot_product_{name}"): _forward_flops for name in _KERNELS}
    | {getattr(torch.ops.aten, f"_scaled_dot_product_{name}_backward"): _backward_flops for name in _KERNELS}
    | {torch.ops.aten._flash_attention_forward: _none, torch.ops.aten._flash_attention_backward: _none}
)


def _lstm_flops(values: Any, inner: Any, across: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Return the FLOPs of one layer and direction of an LSTM on a CPU.

    Shapes are (length, batch, width), (4 * hidden, width) and (4 * hidden, hidden).
    """
    return 2 * int(np.prod(values[:2])) * int(np.prod(inner) + np.prod(across))


def _recurrent_flops(values: Any, weights: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Return the FLOPs of all layers of an LSTM or GRU on a GPU; biases have one dimension."""
    return 2 * int(np.prod(values[:2])) * sum(int(np.prod(weight)) for weight in weights if len(weight) == 2)


def _twice(forward: Callable[..., int]) -> Callable[..., int]:
    return lambda *args, **kwargs: 2 * forward(*args, **kwargs)


def _convolution_backward_flops(
    grad: Any, values: Any, weight: Any, *args: Any, out_shape: Any = None, **kw: Any
) -> int:
    """Return the FLOPs of the gradients of a convolution by its input and by its weight, as far as they are asked for.

    PyTorch's own count takes each group's weight for one of all channels.
    """
    transposed, asked_for = args[4], args[7]
    places = values if transposed else grad
    once = 2 * int(places[0]) * int(np.prod(places[2:])) * int(np.prod(weight))
    return once * (bool(asked_for[0]) + bool(asked_for[1]))


# Recurrent layers that are one kernel. A GRU on a CPU consists of matrix products, which the counter knows.
_RECURRENT = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm_flops,
    torch.ops.aten.mkldnn_rnn_layer_backward: _twice(_lstm_flops),
    torch.ops.aten._cudnn_rnn: _recurrent_flops,
    torch.ops.aten._cudnn_rnn_backward: _twice(_recurrent_flops),
}
_UNKNOWN = _ATTENTION | _RECURRENT | {torch.ops.aten.convolution_backward: _convolution_backward_flops}
