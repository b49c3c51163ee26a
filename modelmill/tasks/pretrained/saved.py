"""Checkpoints with every weight accounted for: those that a model does not read, and what was saved, loaded again."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from modelmill.core.errors import ModelmillError
from modelmill.runtime import weights

# The most weights of a model that is loaded again whole after it was saved; of larger ones the files are compared.
RELOADED = 1_000_000_000
# Names that are shown of many.
SHOWN = 3


@torch.no_grad()
def require_saved(model: Any, folder: Path, load: Callable[[Path], Any]) -> None:
    """Check that a folder, loaded in the way that its users load it, gives the model that was saved.

    Args:
        model: The model, on the CPU.
        folder: The folder that it was saved into.
        load: Loads the folder.

    Raises:
        ModelmillError: It gives another model.
    """
    advice = "this is a mistake in the network's conversion; please report it with config.json"
    if model.num_parameters() > RELOADED:
        _require_same(model, _tensors(folder), folder, advice)
        return
    state = load(folder).state_dict()
    if lost := sorted(model.state_dict().keys() ^ state.keys()):
        raise ModelmillError(f"{folder}: saving and loading again loses weights: {some(lost)}; {advice}")
    _require_same(model, iter(state.items()), folder, advice)


def some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def unread(model: Any, stored: set[str], unexpected: set[str]) -> list[str]:
    """Return the names of tensors that the model has no place for, weights that it makes itself excepted.

    Args:
        model: The model.
        stored: Names of the tensors in its files.
        unexpected: Those of them that transformers has not read.
    """
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    names = unexpected | {name for name in stored if any(pattern.search(name) for pattern in ignored)}
    own = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    return sorted(name for name in names if name.rpartition(".")[2] not in own and not _is_loaded(model, name))


def _require_same(model: Any, tensors: Iterator[tuple[str, torch.Tensor]], folder: Path, advice: str) -> None:
    """Check that tensors are a model's; those of other names were converted, and are not compared."""
    state = model.state_dict()
    for name, tensor in tensors:
        if name in state and not torch.equal(tensor.to(state[name].dtype), state[name].cpu()):
            raise ModelmillError(f"{folder}: saving and loading again changes {name}; {advice}")


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in weights.weight_files(folder):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it cannot be iterated
                yield name, opened.get_tensor(name)


def _is_loaded(model: Any, name: str) -> bool:
    state = model.state_dict()
    prefix = f"{model.base_model_prefix}."
    return name in state or prefix + name in state or name.removeprefix(prefix) in state
