"""What most tasks have in common: examples that are arrays, and a plain network that one description makes again."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from modelmill.core.errors import UserError
from modelmill.runtime.weights import CONFIG, WEIGHTS, read_config
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Examples


class Arrays:
    """The examples of one split: arrays of one length, mapped into memory, as `preprocessing.whole.corpus` keeps them.

    A batch has a tensor of each, but for `ids`, which say which example is which.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str) -> None:
        names = [name for name in files if name.startswith(f"{split}/") and name.endswith(".npy")]
        loaded = {Path(n).stem: np.load(files[n], mmap_mode="r", allow_pickle=False) for n in sorted(names)}
        self.split = split
        self.ids = loaded.pop("ids")
        self.arrays = loaded

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        return {name: torch.from_numpy(array[indices]) for name, array in self.arrays.items()}

    def describe(self, indices: np.ndarray) -> str:
        return f"examples {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"


class ArrayTask(ABC):
    """A task that defines `config`, `network` and `loss`, and else what differs from this; see `Task`.

    `labels` of a batch, or the first of its tensors where it has none, say how many terms its loss is the sum of.
    Files of the corpus that are not arrays are kept beside the weights.
    """

    mixed_precision = False
    unit: Literal["tokens", "samples"] = "samples"
    input = "features"
    axes: tuple[str, ...] = ("batch",)
    stage = ""

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        self.corpus = corpus
        self.files = files
        self.settings = settings

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """All that `network` needs; JSON."""

    @abstractmethod
    def network(self, config: dict[str, Any]) -> nn.Module:
        """The module with random weights."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """As `Task.loss`."""

    def examples(self, stage: str, split: str) -> Examples:
        return Arrays(self.files, split)

    def build(self) -> nn.Module:
        return self.network(self.config())

    def load(self, folder: Path) -> nn.Module:
        return with_weights(self.network(config_like(folder, self.config())), folder)

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        return []

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        return []

    def terms(self, batch: Batch) -> int:
        return len(batch["labels"] if "labels" in batch else next(iter(batch.values())))

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(values)
        return logits

    def save(self, model: nn.Module, folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps(self.config(), indent=2), "utf-8")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
        for name, file in self.files.items():
            if not name.endswith(".npy"):
                (folder / Path(name).name).write_bytes(file.read_bytes())


def config_like(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """A folder's configuration.

    Raises:
        UserError: it says otherwise than `wanted`.
    """
    config = read_config(folder)
    for key, value in wanted.items():
        if config.get(key) != value:
            raise UserError(
                f"pretraining.init: {folder}: its {key} is {config.get(key)}, the recipe and the corpus want {value}"
            )
    return config


def with_weights(model: nn.Module, folder: Path) -> nn.Module:
    """The model, made from a folder's configuration, with the folder's weights.

    Raises:
        UserError: they are not the weights that the configuration describes.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"pretraining.init: {folder / WEIGHTS}: not the weights that {CONFIG} describes: {error}"
        ) from error
    return model
