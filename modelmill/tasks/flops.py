"""Arithmetic of `cost.py`: parameters and multiplications of layers, told from their sizes.

FLOPs are counted as the engine counts what it does (model FLOPs, Chowdhery et al., 2022,
https://arxiv.org/abs/2204.02311, appendix B): matrix products, convolutions and attention, two for each multiplication.
A backward pass costs a product for the gradient by the inputs and one for that by the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Layers = Sequence[Sequence[Any]]
# What configurations of `transformers` call the size of the vocabulary, the width, the number of blocks, the width of
# the feed-forward layers, and the number of positions.
_SIZES = (
    ("vocab_size",),
    ("hidden_size", "dim", "d_model", "n_embd"),
    ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    ("intermediate_size", "hidden_dim", "d_inner", "n_inner", "ffn_dim", "d_ff"),
    ("max_position_embeddings", "n_positions"),
)


@dataclass(frozen=True)
class Work:
    """What layers hold and compute.

    Attributes:
        parameters: Of the layers.
        forward: Multiplications of the forward pass.
        backward: Multiplications of the backward pass.
    """

    parameters: int = 0
    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both."""
        return Work(self.parameters + other.parameters, self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: int) -> "Work":
        """Return the work of so many layers that are alike."""
        return Work(self.parameters * times, self.forward * times, self.backward * times)

    @property
    def flops(self) -> float:
        """Return FLOPs, forward and backward."""
        return 2.0 * (self.forward + self.backward)


def held(parameters: int) -> Work:
    """Return layers that multiply nothing: embeddings and norms."""
    return Work(parameters=parameters)


def product(weights: float, places: float = 1, bias: int = 0, reads_data: bool = False) -> Work:
    """Return the work of a weight that is applied at places: a linear layer, or a convolution.

    Args:
        weights: How many.
        places: How often they are applied: positions of what comes out.
        bias: Parameters that are added.
        reads_data: Whether nothing needs the gradient by what comes in.
    """
    once = float(weights) * places
    return Work(int(weights) + bias, once, once if reads_data else 2 * once)


def linear(inputs: int, outputs: int, places: float = 1, bias: bool = True, reads_data: bool = False) -> Work:
    """Return the work of a linear layer, with arguments as `product`."""
    return product(inputs * outputs, places, outputs if bias else 0, reads_data)


def attention(queries: float, keys: float, width: int) -> Work:
    """Return the work of attention without its linear layers, over whole windows.

    Args:
        queries: Positions that look.
        keys: Positions that are looked at.
        width: Of all heads.
    """
    once = 2.0 * queries * keys * width
    return Work(0, once, 2 * once)


def of_layers(layers: Layers, side: int, reads_data: bool = True) -> Work:
    """Return the work of a network that is described as `modelmill.models.layers` describes layers.

    Args:
        layers: The description.
        side: Height and width of the input; 1 where the first layer is linear.
        reads_data: Whether nothing needs the gradient by the input.
    """
    return _walk(layers, side, reads_data)[0]


def _walk(layers: Layers, side: int, reads_data: bool) -> tuple[Work, int]:
    """Return the work, and the side of the output."""
    work = Work()
    for kind, *given in layers:
        if kind == "conv":
            inputs, outputs, kernel, stride, *bias = given
            side = (side - 1) // stride + 1 if kernel % 2 else side // stride + 1
            work += product(inputs * outputs * kernel**2, side**2, outputs if bias and bias[0] else 0, reads_data)
        elif kind == "deconv":
            inputs, outputs = given
            work += product(inputs * outputs * 16, side**2, outputs, reads_data)
            side *= 2
        elif kind == "linear":
            work += linear(given[0], given[1], reads_data=reads_data)
        elif kind == "norm":
            work += held(2 * given[0])
        elif kind == "pool":
            kernel, stride = given
            side = (side + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        elif kind == "shape":
            side = given[-1]
        elif kind in ("sum", "concat"):
            branches = [_walk(branch, side, reads_data) for branch in given]
            work, side = sum((one for one, _ in branches), work), branches[0][1]
        reads_data = reads_data and kind in ("norm", "relu", "pool", "shape", "leaky")
    return work, side


def classes_of(recipe: Any, column: str, known: Mapping[str, Any] | None) -> tuple[int, str]:
    """Return how many classes a column has, and what of that is assumed, in words.

    Args:
        recipe: The recipe, whose suite may list the column's values.
        column: The column.
        known: `info` of the last corpus, with `classes`, or the configuration of a model.
    """
    if known is not None:
        return len(known["classes"]), ""
    for expectation in recipe.data.suite["expectations"] if isinstance(recipe.data.suite, dict) else ():
        arguments = expectation.get("kwargs", {})
        if arguments.get("column") == column and isinstance(arguments.get("value_set"), list):
            return len(arguments["value_set"]), ""
    return 2, f"2 classes in {column!r}"


def said(*assumed: str) -> str:
    """Return what is assumed as one sentence's part; nothing where nothing is."""
    return " and ".join(filter(None, assumed))


def sizes_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sizes of an encoder of `transformers`: vocabulary, width, blocks, width inside of them, positions.

    Args:
        config: Its configuration.

    Raises:
        LookupError: It names one of them in another way.
    """
    return tuple(_size(config, names) for names in _SIZES)


def _size(config: Mapping[str, Any], names: Sequence[str]) -> int:
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise LookupError(names[0])
