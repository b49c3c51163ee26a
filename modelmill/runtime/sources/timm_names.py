"""What tensors of timm and torchvision are called in a network of transformers."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Tensors = dict[str, np.ndarray]
# A pattern of timm's names, and what the network calls the tensors that match it.
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
# A tensor of this name is left out.
NOWHERE = ""


def _nothing(_: Tensors) -> Tensors:
    return {}


class Network(NamedTuple):
    """A network as transformers has it.

    Attributes:
        config: The content of `config.json`, but for the labels.
        rules: Names of its tensors, by patterns of timm's.
        more: Makes tensors that the network has beside the given ones.
        flat: Weights that are a matrix, where timm has a convolution over all that there is.
    """

    config: dict[str, Any]
    rules: list[Rule]
    more: Callable[[Tensors], Tensors] = _nothing
    flat: tuple[str, ...] = ()

    def converted(self, tensors: Tensors) -> Tensors:
        """Return the tensors by transformers' names, with those that its network has beside them.

        Args:
            tensors: Tensors by timm's names.

        Raises:
            KeyError: The network has none of a name.
        """
        converted: Tensors = {}
        for name, tensor in tensors.items():
            ours = self._renamed(name)
            if ours != NOWHERE:
                shaped = tensor.reshape(len(tensor), -1) if ours in self.flat else tensor
                # safetensors writes the memory of an array as it lies there, whatever its strides are.
                converted[ours] = shaped.copy(order="C")
        for name in list(converted):
            norm, is_mean, _ = name.partition(".running_mean")
            if is_mean:  # older weights do not count batches
                converted.setdefault(f"{norm}.num_batches_tracked", np.zeros((), np.int64))
        return converted | self.more(converted)

    def _renamed(self, name: str) -> str:
        for pattern, ours in self.rules:
            if found := re.fullmatch(pattern, name):
                return found.expand(ours) if isinstance(ours, str) else ours(found)
        raise KeyError(name)
