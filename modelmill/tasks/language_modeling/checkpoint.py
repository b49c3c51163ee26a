"""Checkpoints as `from_pretrained` reads them: in their own number format, and with every weight accounted for."""

import logging
from pathlib import Path
from typing import Any

import torch

from modelmill.core.errors import UserError
from modelmill.models import attention
from modelmill.recipe.sections import INIT
from modelmill.runtime import weights
from modelmill.tasks.pretrained import saved
from modelmill.training.device import formats

log = logging.getLogger("modelmill")


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
            f"{key}: {folder}: {type(model).__name__} needs weights that are not in it: {saved.some(missing)}; "
            "take a checkpoint of a causal language model, as save_pretrained writes it"
        )
    left_out = saved.unread(model, set(weights.tensors(folder)), set(report["unexpected_keys"]))
    if left_out:
        log.warning("%s: %s does not read %s; the model that is saved is without", folder, *_said(model, left_out))
    return model, left_out


def require_saved(model: Any, folder: Path) -> None:
    """Check that a folder, loaded in the way that its users load it, gives the model that was saved.

    Args:
        model: The model, on the CPU.
        folder: The folder that it was saved into.

    Raises:
        ModelmillError: It gives another model.
    """
    saved.require_saved(model, folder, lambda folder: load(folder, torch.device("cpu"))[0])


def _said(model: Any, names: list[str]) -> tuple[str, str]:
    return type(model).__name__, f"{len(names)} tensors: {saved.some(names)}"
