"""A base for tasks whose network a checkpoint decides: `model.type: auto`."""

import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint
from modelmill.recipe.sections import INIT
from modelmill.runtime.weights import read_config
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Examples
from modelmill.tasks.pretrained import heads, proof, saved
from modelmill.tasks.pretrained.proof import Way
from modelmill.training.device import hardware

log = logging.getLogger("modelmill")


class PretrainedTask(ABC):
    """A task over a corpus whose `info["model"]` is `auto` and that has the files of `corpus.checkpoint`.

    A subclass gives `input`, `axes`, `examples`, `terms`, `loss`, `logits`, `made_up` and `outputs`, and, where its
    head has labels, `labels_of_head`.

    Attributes:
        head: Class of `transformers` that the network is loaded with.
        key: The recipe's key that names the weights which are loaded.
        may_renew: Whether weights of the head may be missing; None where there are labels.
        way: How examples are fed; `Way.padded` says whether those of other lengths may share a batch.
        new: Names of the weights that were made at random.
    """

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "samples"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")
    stage = ""
    head = ""
    key = INIT
    may_renew: bool | None = None

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take what a corpus says of the model.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation.
        """
        self.corpus = corpus
        self.files = files
        self.settings = settings
        self.way = Way()
        self.new: list[str] = []
        self.notes: dict[str, Any] = {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def keeps_files(self) -> bool:
        """Return whether files that a stage does not train are handed on: fine-tuning gives them their head."""
        return self.stage == "pretraining"

    @property
    def checkpoint(self) -> Path:
        """Return a folder with the corpus's description of the checkpoint: configuration, tokenizer and processor."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="modelmill-checkpoint-")
            checkpoint.place(self.files, Path(self._scratch.name))
        return Path(self._scratch.name)

    def labels_of_head(self) -> list[str] | None:
        """Return the labels of the head in the data's order; None where it has none."""
        return None

    def overrides(self) -> dict[str, Any]:
        """Return settings of the network's configuration that are the recipe's or the corpus's."""
        return {}

    def check(self, folder: Path) -> None:
        """Check that weights fit the corpus; a subclass with a tokenizer checks that, too.

        Args:
            folder: The folder with the weights.

        Raises:
            UserError: They are of another architecture than the one that the corpus was made for.
        """
        mine, theirs = (read_config(one).get("model_type") for one in (self.checkpoint, folder))
        if mine != theirs:
            raise UserError(
                f"{self.key}: {folder}: its model_type is {theirs!r}, but inputs were prepared for {mine!r}; take the "
                "processor or tokenizer of the same checkpoint"
            )

    def build(self) -> nn.Module:
        """Return the network of the checkpoint's configuration with random weights."""
        model = heads.build(self.checkpoint, self.head, self.labels_of_head(), self.key, **self.overrides())
        self.new = [name for name, _ in model.named_parameters() if heads.is_of_head(model, name)]
        return self._proved(model, str(self.checkpoint))

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        self.check(folder)
        loaded = self._loaded(folder, hardware.pick_device())
        if not loaded.is_head_kept:
            log.info("%s: %s: the head is made anew (%s)", self.key, folder, saved.some(loaded.new))
        if loaded.left_out:
            log.info("%s: %s: without %s, of another head", self.key, folder, saved.some(loaded.left_out))
        self.notes, self.new = loaded.notes(), loaded.new
        return self._proved(loaded.model, str(folder))

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order; of an encoder and a decoder, the encoder's first."""
        return blocks_of(model)

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return no modules; a task whose inputs have one shape overrides this."""
        return []

    def whole(self, model: Any) -> list[str]:
        """Return the names of modules that are trained whole beside adapters: those with new weights, and the head."""
        ends = heads.label_axes(self.head, model.config) if self.labels_of_head() else {}
        return sorted({_outermost(model, name) for name in (*self.new, *ends)})

    @abstractmethod
    def examples(self, stage: str, split: str) -> Examples:
        """Return the examples of a split in a stage; see `Task.examples`."""

    @abstractmethod
    def terms(self, batch: Batch) -> int:
        """Return how many terms the loss of a batch on the CPU is the sum of."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""

    @abstractmethod
    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the output for the tensor `input` of a batch; see `Task.logits`."""

    @abstractmethod
    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return made-up examples that the feeding is proved with.

        Args:
            model: The model, which says what inputs it takes.

        Returns:
            A batch of examples of several lengths, where the task has such; and the same examples, a batch each.
        """

    @abstractmethod
    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the outputs for a batch, one tensor an example, without what padding adds."""

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder, with what prepares its inputs; see `Task.save`."""
        model.save_pretrained(folder, safe_serialization=True)
        saved.require_saved(model, folder, lambda one: self._loaded(one, torch.device("cpu")).model)
        checkpoint.place(self.files, folder)

    def _loaded(self, folder: Path, device: torch.device) -> heads.Loaded:
        return heads.load(
            folder, self.head, self.labels_of_head(), device, self.key, self.may_renew, **self.overrides()
        )

    def _proved(self, model: Any, folder: str) -> nn.Module:
        """Return a model set up for the way of feeding that is right."""
        together, alone = self.made_up(model)
        proved = proof.prove(model, together, alone, self.outputs, f"{self.key}: {folder}")
        self.way = proved.way
        self.notes |= proved.notes()
        log.info("the model is fed as %s; outputs differ by %.1g of the largest", proved.way.words, proved.difference)
        proved_model: nn.Module = model
        return proved_model


def blocks_of(model: Any) -> list[nn.Module]:
    """Return the hidden blocks of a network in order, without embeddings and heads.

    They are what transformers never splits or, where it names nothing, the entries of the largest list of modules.

    Args:
        model: A model of `transformers`.
    """
    kinds = {name for name in model._no_split_modules or () if "embed" not in name.lower()}
    named = [(name, module) for name, module in model.named_modules() if type(module).__name__ in kinds]
    outer = [module for name, module in named if not any(name.startswith(f"{other}.") for other, _ in named)]
    if outer:
        return outer
    lists = {name: one for name, one in model.named_modules() if isinstance(one, nn.ModuleList) and len(one)}
    outermost = [one for name, one in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    return list(max(outermost, key=lambda one: sum(p.numel() for p in one.parameters()), default=[]))


def _outermost(model: Any, weight: str) -> str:
    """Return the name of the largest module around a weight of the head that is not around other weights."""
    parts = weight.split(".")
    if "pooler" in parts:
        return ".".join(parts[: parts.index("pooler") + 1])
    if heads.is_of_head(model, weight) and len(parts) > 1:
        return parts[0]
    return weight.rpartition(".")[0]
