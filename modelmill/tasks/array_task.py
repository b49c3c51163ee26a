"""A base for most tasks: examples are arrays, and a configuration describes the network."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from modelmill.core.errors import UserError
from modelmill.runtime.weights import CONFIG, WEIGHTS, read_config, weight_files
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Examples


class Arrays:
    """The examples of one split: arrays of one length, mapped into memory, as `in_memory.corpus` writes them.

    A batch has a tensor of each array but `ids`, which identify the examples.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str) -> None:
        """Open the arrays of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split; the arrays are its `.npy` files.
        """
        names = [name for name in files if name.startswith(f"{split}/") and name.endswith(".npy")]
        loaded = {Path(n).stem: np.load(files[n], mmap_mode="r", allow_pickle=False) for n in sorted(names)}
        self.split = split
        self.ids = loaded.pop("ids")
        self.arrays = loaded

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        return {name: torch.from_numpy(array[indices]) for name, array in self.arrays.items()}

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)


def described(indices: np.ndarray, split: str) -> str:
    """Return where examples come from, for a person: the first few of them.

    Args:
        indices: Numbers of the examples.
        split: Name of their split.
    """
    return f"examples {', '.join(str(index) for index in indices[:5].tolist())} of the {split} split"


class ArrayTask(ABC):
    """A task that defines `config`, `network` and `loss`, and overrides what else differs; see `Task`.

    The number of a batch's terms is the length of `labels` or, without those, of its first tensor. The corpus's files
    that are not arrays are saved beside the weights.
    """

    mixed_precision = False
    unit: Literal["tokens", "samples"] = "samples"
    input = "features"
    axes: tuple[str, ...] = ("batch",)
    stage = ""

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take the corpus and the recipe's model.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation.
        """
        self.corpus = corpus
        self.files = files
        self.settings = settings

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes, which becomes `config.json`."""

    @abstractmethod
    def network(self, config: dict[str, Any]) -> nn.Module:
        """Return the network of a configuration, with random weights."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""

    def examples(self, stage: str, split: str) -> Examples:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return Arrays(self.files, split)

    def build(self) -> nn.Module:
        """Return the recipe's model with random weights."""
        return self.network(self.config())

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        return with_weights(self.network(config_like(folder, self.config())), folder)

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return no blocks; a task whose network is deep overrides this."""
        return []

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return no modules; a task that gains by compilation overrides this."""
        return []

    def terms(self, batch: Batch) -> int:
        """Return how many terms the loss of a batch is the sum of."""
        return len(batch["labels"] if "labels" in batch else next(iter(batch.values())))

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the network's output for the tensor `input` of a batch."""
        logits: torch.Tensor = model(values)
        return logits

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write configuration, weights and the corpus's files that are not arrays into an empty folder."""
        (folder / CONFIG).write_text(json.dumps(self.config(), indent=2), "utf-8")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
        for name, file in self.files.items():
            if not name.endswith(".npy"):
                (folder / Path(name).name).write_bytes(file.read_bytes())


def config_like(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a folder.

    Args:
        folder: Holds `config.json`.
        wanted: The keys to compare, with the values of the recipe and the corpus.

    Raises:
        UserError: A value differs.
    """
    config = read_config(folder)
    for key, value in wanted.items():
        if config.get(key) != value:
            raise UserError(
                f"pretraining.init: {folder}: its {key} is {config.get(key)}, the recipe and the corpus want {value}"
            )
    return config


def with_weights(model: nn.Module, folder: Path) -> nn.Module:
    """Return a model with the weights of a folder.

    Args:
        model: Made from the folder's configuration.
        folder: Holds the weights.

    Raises:
        UserError: The weights are not those of such a model.
    """
    try:
        files = [load_file(file) for file in weight_files(folder)]
        model.load_state_dict({name: tensor for held in files for name, tensor in held.items()})
    except (RuntimeError, ValueError) as error:
        raise UserError(f"pretraining.init: {folder}: not the weights that {CONFIG} describes: {error}") from error
    return model
