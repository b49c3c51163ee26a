"""Checkpoints as `from_pretrained` reads them: in their own number format, and with every weight accounted for."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from modelmill.core.errors import ModelmillError, UserError
from modelmill.models import attention
from modelmill.recipe.sections import INIT
from modelmill.runtime import weights
from modelmill.training.device import formats

log = logging.getLogger("modelmill")
# The most weights of a model that is loaded again whole after it was saved; of larger ones the files are compared.
RELOADED = 1_000_000_000
# Names that are shown of many.
SHOWN = 3


def load(folder: Path, device: torch.device, key: str = INIT) -> tuple[Any, list[str]]:
    """Return the model in a folder, and the names of the folder's tensors that it does not read.

    Args:
        folder: The folder.
        device: Where the model will be.
        key: The recipe's key that names the model, for messages.

    Raises:
        UserError: It is no causal language model, or lacks weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as their_logging

    their_logging.disable_progress_bar()
    attention.implementation(device)  # registers ours
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=formats.in_memory(formats.came_in(folder), device),
            output_loading_info=True,
        )
    except (ValueError, OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{key}: {folder}: not a causal language model that transformers loads: {error}") from error
    if missing := sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])}):
        raise UserError(
            f"{key}: {folder}: {type(model).__name__} needs weights that are not in it: {some(missing)}; "
            "take a checkpoint of a causal language model, as save_pretrained writes it"
        )
    left_out = _unread(model, set(weights.tensors(folder)), set(report["unexpected_keys"]))
    if left_out:
        log.warning("%s: %s does not read %s; the model that is saved is without", folder, *_said(model, left_out))
    return model, left_out


@torch.no_grad()
def require_saved(model: Any, folder: Path) -> None:
    """Check that a folder, loaded in the way that its users load it, gives the model that was saved.

    Args:
        model: The model, on the CPU.
        folder: The folder that it was saved into.

    Raises:
        ModelmillError: It gives another model.
    """
    advice = "this is a mistake in the network's conversion; please report it with config.json"
    if model.num_parameters() > RELOADED:
        _require_same(model, _tensors(folder), folder, advice)
        return
    loaded, _ = load(folder, torch.device("cpu"))
    state = loaded.state_dict()
    if lost := sorted(model.state_dict().keys() ^ state.keys()):
        raise ModelmillError(f"{folder}: saving and loading again loses weights: {some(lost)}; {advice}")
    _require_same(model, iter(state.items()), folder, advice)


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


def some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _said(model: Any, names: list[str]) -> tuple[str, str]:
    return type(model).__name__, f"{len(names)} tensors: {some(names)}"


def _unread(model: Any, stored: set[str], unexpected: set[str]) -> list[str]:
    """Return the names of tensors that the model has no place for, weights that it makes itself excepted."""
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    names = unexpected | {name for name in stored if any(pattern.search(name) for pattern in ignored)}
    own = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    return sorted(name for name in names if name.rpartition(".")[2] not in own and not _is_loaded(model, name))


def _is_loaded(model: Any, name: str) -> bool:
    state = model.state_dict()
    prefix = f"{model.base_model_prefix}."
    return name in state or prefix + name in state or name.removeprefix(prefix) in state
