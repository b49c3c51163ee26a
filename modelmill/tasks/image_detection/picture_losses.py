"""The loss of each picture as transformers computes it, of detectors that match queries with objects."""

import copy
from collections.abc import Callable
from typing import Any

import torch

# What a network says of each layer of its decoder: layers and pictures are its first axes, in either order.
_OF_LAYERS = 4


class PictureLosses:
    """A detector's own loss function, called for one picture of a batch at a time.

    transformers divides a batch's loss by its number of objects, so that a batch in parts has another gradient than the
    whole. By the picture, the sum is the same however a batch is divided, and a loss belongs to its picture.
    """

    def __init__(self, own: Callable[..., Any]) -> None:
        """Take the loss function that transformers has for a detector."""
        self.own = own

    def __call__(
        self,
        logits: torch.Tensor,
        labels: list[Any],
        device: Any,
        boxes: torch.Tensor,
        config: Any,
        *more: Any,
        **named: Any,
    ) -> tuple[torch.Tensor, dict[str, Any], None]:
        """Return the loss of each picture, fp32, (pictures,); see transformers' `LOSS_MAPPING`.

        Args:
            logits: (pictures, queries, classes).
            labels: `class_labels` and `boxes` of each picture.
            device: Where the matching is computed.
            boxes: (pictures, queries, 4).
            config: The detector's configuration.
            more: What else the loss is computed from, by position.
            named: What else the loss is computed from, by name.
        """
        config = _of_groups(config, logits)
        layers_first = _is_layers_first(logits, more[0] if more else None)
        losses = []
        with torch.autocast(logits.device.type, enabled=False):  # distances of boxes need fp32
            for place in range(len(labels)):

                def one(value: Any, place: int = place) -> Any:
                    return _of_picture(value, place, layers_first)

                its = {name: one(value) for name, value in named.items()}
                loss, *_ = self.own(
                    one(logits), [labels[place]], device, one(boxes), config, *(one(value) for value in more), **its
                )
                losses.append(loss)
        return torch.stack(losses), {}, None


def _of_groups(config: Any, logits: torch.Tensor) -> Any:
    """Return a configuration with the number of groups of queries that there are: detectors train with several.

    transformers' loss assumes those of training in evaluation as well, and would match each object with the queries of
    a part of the one group.
    """
    if getattr(config, "group_detr", 1) == 1 or logits.shape[1] != config.num_queries:
        return config
    config = copy.copy(config)
    config.group_detr = 1
    return config


def _is_layers_first(logits: torch.Tensor, of_layers: torch.Tensor | None) -> bool:
    """Return whether the first axis of what there is of each layer is that of the layers, and not of the pictures."""
    if of_layers is None or of_layers.shape[1] != len(logits):
        return False
    if of_layers.shape[0] != len(logits):
        return True
    first, second = ((one - logits).abs().sum() for one in (of_layers[-1], of_layers[:, -1]))
    return bool(first <= second)


def _of_picture(value: Any, place: int, layers_first: bool) -> Any:
    """Return the part of one picture, as of a batch of one."""
    if isinstance(value, dict):  # of queries for denoising
        return value | {"dn_positive_idx": value["dn_positive_idx"][place : place + 1]}
    if not torch.is_tensor(value):
        return value
    axis = 1 if layers_first and value.ndim == _OF_LAYERS else 0
    part = value.narrow(axis, place, 1)
    return part.float() if part.is_floating_point() else part
