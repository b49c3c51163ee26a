"""Checkpoints loaded with a head: the checkpoint's own where it has the data's labels, else one that is made anew."""

import copy
import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch

from modelmill.core.errors import UserError, one_line
from modelmill.corpus.checkpoint import agreed_labels
from modelmill.recipe.sections import INIT
from modelmill.runtime import weights
from modelmill.runtime.sources import architecture, timm_networks
from modelmill.tasks.pretrained import proof, saved
from modelmill.training.device import formats

log = logging.getLogger("modelmill")
# What stands for masked inputs in training, which checkpoints that were trained without masks lack.
_OF_MASKS = ("masked_spec_embed",)


class Loaded(NamedTuple):
    """A model with a head.

    Attributes:
        model: The model.
        is_head_kept: Whether all weights of the head are the checkpoint's.
        new: Names of the weights that were made at random.
        left_out: Names of the checkpoint's tensors that the model does not read.
    """

    model: Any
    is_head_kept: bool
    new: list[str]
    left_out: list[str]

    def notes(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        left_out = {"weights_left_out": self.left_out} if self.left_out else {}
        return {"head": "the checkpoint's" if self.is_head_kept else "new"} | left_out


def load(
    folder: Path,
    head: str,
    labels: list[str] | None,
    device: torch.device,
    key: str = INIT,
    may_renew: bool | None = None,
    **overrides: Any,
) -> Loaded:
    """Return the model in a folder with a head for some labels.

    Args:
        folder: The folder.
        head: Class of `transformers`, such as `AutoModelForSequenceClassification`.
        labels: Labels of the data in order; None where the head has none.
        device: Where the model will be.
        key: The recipe's key that names the model, for messages.
        may_renew: Whether weights of the head may be missing; by default where there are labels.
        **overrides: Settings of the configuration.

    Raises:
        UserError: The architecture has no such head, weights other than the head's are missing, or the checkpoint's
            labels contradict the data's.
    """
    where = f"{key}: {folder}"
    kind, config = _kind(where, folder, head)
    config.update(overrides)
    theirs = agreed_labels(where, weights.read_config(folder), head, labels) if labels else None
    if labels:
        _name(config, theirs or labels)
    model, report = _read(where, kind, folder, config, device)
    mismatched = {str(entry[0]) for entry in report["mismatched_keys"]}
    missing = {name for name in {*report["missing_keys"], *mismatched} if not name.endswith(_OF_MASKS)}
    ends = label_axes(head, config) if labels else {}
    renewable = bool(labels) if may_renew is None else may_renew
    _require_rest(where, model, missing, set(ends), renewable and theirs is None)
    if theirs is not None and labels is not None:
        _put_in_order(model, ends, [theirs.index(label) for label in labels])
        _name(model.config, labels)
    elif stale := sorted(set(ends) - missing):
        _renew(model, kind, stale)
        missing |= set(stale)
    left_out = saved.unread(model, set(weights.tensors(folder)), set(report["unexpected_keys"]))
    return Loaded(model, not missing, sorted(missing), left_out)


def build(folder: Path, head: str, labels: list[str] | None, key: str, **overrides: Any) -> Any:
    """Return the network that a folder's configuration describes, with random weights in fp32.

    Args:
        folder: Holds `config.json`.
        head: Class of `transformers`.
        labels: Labels of the data in order; None where the head has none.
        key: The recipe's key that names the checkpoint, for messages.
        **overrides: Settings of the configuration.

    Raises:
        UserError: The architecture has no such head.
    """
    kind, config = _kind(f"{key}: {folder}", folder, head)
    config.update(overrides)
    if labels:
        _name(config, labels)
    with proof.quiet():
        return kind.from_config(config, dtype=torch.float32)


def label_axes(head: str, config: Any) -> dict[str, int]:
    """Return the weights that have a row or column for each label, and which of their axes it is.

    Args:
        head: Class of `transformers`, such as `AutoModelForSequenceClassification`.
        config: Configuration of the model.
    """
    import transformers

    kind, larger = getattr(transformers, head), copy.deepcopy(config)
    _name(larger, [f"LABEL_{number}" for number in range(len(config.id2label) + 1)])
    with torch.device("meta"), proof.quiet():
        shapes = [{n: p.shape for n, p in kind.from_config(one).named_parameters()} for one in (config, larger)]
    return {
        name: next(axis for axis, size in enumerate(shape) if size != shapes[1][name][axis])
        for name, shape in shapes[0].items()
        if shape != shapes[1][name]
    }


def _kind(where: str, folder: Path, head: str) -> tuple[Any, Any]:
    import transformers

    described = weights.read_config(folder)
    architecture.require_head(where, described, (head,))
    if described.get("model_type") == timm_networks.VISION:
        from modelmill.models.vision import classifier  # noqa: F401 - transformers knows it from now on

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{where}: transformers does not read its config.json: {one_line(error)[:200]}") from error
    return getattr(transformers, head), config


def _read(where: str, kind: Any, folder: Path, config: Any, device: torch.device) -> tuple[Any, Any]:
    try:
        with proof.quiet():
            return kind.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=formats.in_memory(formats.came_in(folder), device),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (ValueError, OSError, RuntimeError, KeyError, AttributeError, TypeError, ImportError) as error:
        raise UserError(f"{where}: transformers does not load it: {one_line(error)[:200]}") from error


def _name(config: Any, labels: list[str]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}


def _require_rest(where: str, model: Any, missing: set[str], ends: set[str], may_renew: bool) -> None:
    """Check that no weights are missing but, where that is allowed, the head's.

    Raises:
        UserError: Some are.
    """
    wrong = sorted(name for name in missing if not (may_renew and (name in ends or is_of_head(model, name))))
    if wrong:
        raise UserError(
            f"{where}: {type(model).__name__} needs weights that are not in it as config.json describes them: "
            f"{saved.some(wrong)}; take a checkpoint as save_pretrained writes it"
        )


def is_of_head(model: Any, name: str) -> bool:
    """Return whether a weight is part of a model's head: outside of the network below it, or of its pooling.

    Args:
        model: The model.
        name: Name of the weight.
    """
    prefix = model.base_model_prefix
    is_inside = hasattr(model, prefix) and name.startswith(f"{prefix}.")
    return "pooler" in name.split(".") or not is_inside


@torch.no_grad()
def _put_in_order(model: Any, axes: dict[str, int], places: list[int]) -> None:
    """Move the labels' rows of a head, in place; those of no label, as detectors have one, stay last."""
    if places == sorted(places):
        return
    for name, axis in axes.items():
        weight = model.get_parameter(name)
        rest = range(len(places), weight.shape[axis])
        weight.copy_(weight.index_select(axis, torch.tensor([*places, *rest], device=weight.device)))


@torch.no_grad()
def _renew(model: Any, kind: Any, names: list[str]) -> None:
    """Give weights random values as a new model has them: they are the checkpoint's, for other labels."""
    with proof.quiet():
        fresh = kind.from_config(copy.deepcopy(model.config), dtype=torch.float32)
    for name in names:
        model.get_parameter(name).copy_(fresh.get_parameter(name))
