"""Blocks of a network that compute alike, so that one of them tells what all of them do."""

from typing import Any

from torch import nn


def kind(block: nn.Module) -> tuple[Any, ...]:
    """Return what tells blocks apart that compute differently: their modules, settings and shapes.

    Args:
        block: A block.
    """
    parts: list[Any] = []
    for name, module in block.named_modules():
        settings = {k: v for k, v in vars(module).items() if not k.startswith("_") and not _is_number_of_block(k)}
        plain = sorted((k, v) for k, v in settings.items() if isinstance(v, bool | int | float | str | None))
        parts.append((name, type(module).__name__, tuple(plain)))
        parts += [(k, tuple(p.shape), p.requires_grad) for k, p in module.named_parameters(recurse=False)]
    return tuple(map(repr, parts))


def by_kind(blocks: list[nn.Module]) -> list[list[int]]:
    """Return the numbers of the blocks of each kind, in the order of their first ones.

    Args:
        blocks: Blocks in the order in which they are called.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, block in enumerate(blocks):
        groups.setdefault(kind(block), []).append(number)
    return list(groups.values())


def _is_number_of_block(name: str) -> bool:
    return any(part in name for part in ("idx", "index", "layer_id", "layer_num", "block_id"))
