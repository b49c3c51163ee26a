"""The cost of one example, measured on one: FLOPs, and the memory that waits for its backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

# Weights of a model for which a step on one example takes longer than looking at its shapes.
LARGE = 300_000_000


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

    Args:
        loss: See `measure`.
        blocks: See `measure`.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return measure(loss, blocks)
    except Exception:  # of an operation that needs values
        return None


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
