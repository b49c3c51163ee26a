"""A convolutional classifier: of other classes or of rotations in pretraining, of the classes in fine-tuning.

Where a checkpoint decides the network, see `pretrained`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.models.architectures import ARCHITECTURES
from modelmill.recipe.pretrained import AUTO, PretrainedModel
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import ArrayTask, config_like, described, with_weights
from modelmill.tasks.contract import Batch
from modelmill.tasks.image_classification.augmentation import moved, rotated
from modelmill.tasks.image_classification.network import ImageClassifier

# RotNet (Gidaris et al., 2018, https://arxiv.org/abs/1803.07728): quarters of a turn.
ROTATIONS = ["0", "90", "180", "270"]
SHAPE = ("architecture", "width", "stages", "depth")


class Images:
    """Images of one split with one kind of label.

    A batch has `images` (uint8, (batch, channels, size, size)) and `labels` (int64, (batch,)). A label of a rotation is
    the quarters by which validation turns the image.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str, kind: str) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            kind: `labels`, `others` or `rotations`.
        """
        self.split = split
        self.examples = ShardedExamples(files, split)
        ids = self.examples.ids
        labels = (ids % 4).astype(np.int64) if kind == "rotations" else np.load(files[f"{split}/{kind}.npy"])
        self.rows = np.flatnonzero(labels >= 0)
        self.ids, self.labels = ids[self.rows], labels[self.rows]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        images = torch.from_numpy(self.examples.stacked("images", self.rows[indices]))
        return {"images": images, "labels": torch.from_numpy(self.labels[indices])}

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)


class ImageClassification(ArrayTask):
    """Cross-entropy on the class, or on the rotation; see `modelmill.tasks.contract.Task`."""

    input = "images"

    @property
    def learns_rotations(self) -> bool:
        """Whether the stage predicts rotations, for want of other classes."""
        return self.stage == "pretraining" and not self.corpus.info["other_classes"]

    @property
    def classes(self) -> list[str]:
        """Names of the classes that the stage learns."""
        if self.learns_rotations:
            return ROTATIONS
        classes: list[str] = self.corpus.info["other_classes" if self.stage == "pretraining" else "classes"]
        return classes

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        known = {key: self.corpus.info[key] for key in ("channels", "size")} | {"classes": self.classes}
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        if self.settings is None:
            return known
        shape, model = self.settings.model_dump(include=set(SHAPE)), self.settings
        made = ARCHITECTURES[model.architecture](known["channels"], model.width, model.stages, model.depth)
        features = model.width * 2 ** (model.stages - 1)
        return {**shape, **known, "features": features, "layers": made}

    def network(self, config: dict[str, Any]) -> ImageClassifier:
        """Return the network of a configuration, with random weights."""
        return ImageClassifier(config, self.settings.dropout if self.settings else 0.0)

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; in fine-tuning a network that has learned other classes gets a new last layer.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        mine = self.config()
        config = config_like(folder, {key: value for key, value in mine.items() if key != "classes"})
        if self.stage != "fine_tuning" or config["classes"] == mine["classes"]:
            return super().load(folder)
        model = self.network(config)
        with_weights(model, folder)
        model.head = nn.Linear(config["features"], len(mine["classes"]))
        return model

    def examples(self, stage: str, split: str) -> Images:
        """Return the examples of a split in a stage; see `Task.examples`."""
        others = "others" if self.corpus.info["other_classes"] else "rotations"
        return Images(self.files, split, others if stage == "pretraining" else "labels")

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        images, labels = batch["images"].float(), batch["labels"]
        if model.training:
            images = moved(images, self.settings.shift, self.settings.turn, self.settings.zoom)
        if self.learns_rotations:
            labels = torch.randint(len(ROTATIONS), labels.shape, device=labels.device) if model.training else labels
            images = rotated(images, labels)
        logits = self.logits(model, images).float()
        return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def make_task(corpus: Manifest, files: dict[str, Path], settings: Any) -> Any:
    """Return the task over a corpus; see `modelmill.tasks.contract.TaskPart`.

    Args:
        corpus: The manifest that `preprocess` has made.
        files: The corpus's files by their names in it.
        settings: The recipe's `model`; None in evaluation.
    """
    if corpus.info.get("model") != AUTO:
        return ImageClassification(corpus, files, settings)
    from modelmill.tasks.image_classification.pretrained import PretrainedImages

    return PretrainedImages(corpus, files, settings)


def check_model(folder: Path, recipe: Any) -> dict[str, Any]:
    """Return what can be said of a checkpoint before training starts from it; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The folder with the weights.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained on the recipe's images.
    """
    if not isinstance(recipe.model, PretrainedModel):
        return {}
    from modelmill.tasks.image_classification import pretrained

    return pretrained.checked(folder, recipe)
