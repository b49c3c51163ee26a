"""A multilayer perceptron on standardised columns."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from modelmill.core.errors import UserError
from modelmill.runtime.weights import CONFIG, WEIGHTS, read_config
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import with_weights
from modelmill.tasks.contract import Batch
from modelmill.tasks.tabular_classification.network import ACTIVATIONS, MLP, probabilities
from modelmill.tasks.tabular_classification.recipe import MLPModel

SCALER = "scaler.json"


class Rows:
    """Rows of one split, in memory.

    A batch has `features` (float32, (batch, columns)) and `labels` (int64, (batch,)). Equal rows have equal `ids`
    (uint64).
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str) -> None:
        """Load the arrays of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
        """
        stems = sorted(n.removesuffix("features.npy") for n in files if n.startswith(f"{split}/") and "features" in n)
        self.features = np.concatenate([np.load(files[f"{s}features.npy"], allow_pickle=False) for s in stems])
        self.labels = np.concatenate([np.load(files[f"{s}labels.npy"], allow_pickle=False) for s in stems])
        self.ids = np.concatenate([np.load(files[f"{s}ids.npy"], allow_pickle=False) for s in stems])

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        return {
            "features": torch.from_numpy(self.features[indices]),
            "labels": torch.from_numpy(self.labels[indices]),
        }

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return "training rows " + ", ".join(str(index) for index in indices[:5].tolist())


class TabularClassification:
    """Cross-entropy on classes, with one logit for two of them, else one each; see `modelmill.tasks.contract.Task`."""

    mixed_precision = False
    unit: Literal["tokens", "samples"] = "samples"
    input = "features"
    axes: tuple[str, ...] = ("batch",)
    stage = ""

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: MLPModel | None) -> None:
        """Take what a corpus says of the model.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation.
        """
        self.files = files
        self.settings = settings
        self.features: list[str] = corpus.info["features"]
        self.classes: list[str] = corpus.info["classes"]
        self.outputs = 1 if len(self.classes) == 2 else len(self.classes)

    def examples(self, stage: str, split: str) -> Rows:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return Rows(self.files, split)

    def build(self) -> nn.Module:
        """Return the recipe's model with random weights."""
        assert self.settings is not None
        return self._mlp(self.settings.model_dump())

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        config = read_config(folder)
        for key, mine in (("features", self.features), ("classes", self.classes)):
            if config.get(key) != mine:
                raise UserError(f"pretraining.init: {folder}: its {key} are {config.get(key)}, the corpus has {mine}")
        return with_weights(self._mlp(config), folder)

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        return list(model.layers[1:-1])

    def compilable(self, model: Any) -> list[nn.Module]:
        """Return no modules: products are too small for compilation to gain anything."""
        return []

    def terms(self, batch: Batch) -> int:
        """Return the number of rows."""
        return len(batch["labels"])

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        logits, labels = self.logits(model, batch["features"]), batch["labels"]
        if self.outputs == 1:
            targets = labels.float() * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits.squeeze(-1), targets, reduction="sum")
        return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits, (batch, outputs)."""
        logits: torch.Tensor = model(values)
        return logits

    def probabilities(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the probability of each class, (batch, classes)."""
        return probabilities(self.logits(model, batch["features"]))

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        assert self.settings is not None
        config = {"type": "mlp", "features": self.features, "classes": self.classes, "outputs": self.outputs}
        (folder / CONFIG).write_text(json.dumps(config | self._shape(model), indent=2), "utf-8")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
        shutil.copyfile(self.files[SCALER], folder / SCALER)

    def _mlp(self, shape: dict[str, Any]) -> MLP:
        return MLP({**shape, "features": self.features, "outputs": self.outputs})

    def _shape(self, model: MLP) -> dict[str, Any]:
        names = {kind: name for name, kind in ACTIVATIONS.items()}
        return {
            "hidden": [layer.out_features for layer in model.layers[:-1]],
            "activation": names[type(model.activation)],
            "dropout": model.dropout.p,
        }


make_task = TabularClassification
