"""A detector: pretraining learns the class of single objects, fine-tuning the boxes of several."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus.example_shards import ShardedExamples
from modelmill.recipe.pretrained import AUTO, PretrainedModel
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import ArrayTask, described
from modelmill.tasks.contract import Batch, Task
from modelmill.tasks.image_detection import losses, pretrained
from modelmill.tasks.image_detection.augmentation import vary
from modelmill.tasks.image_detection.network import Detector, of_config
from modelmill.tasks.image_detection.pretrained import PretrainedDetection
from modelmill.tasks.image_detection.recipe import PICTURES, SINGLES, Recipe


class Pictures:
    """Pictures of one split, with boxes or of single objects.

    A batch has `images`, uint8, (batch, 3, size, size); `labels`, int64, (batch, most), -1 where there is no object;
    and of pictures with boxes `boxes` in pixels, float32, (batch, most, 4).
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str, kind: str, most: int) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            kind: `pictures` or `singles`.
            most: The most objects of a picture.
        """
        self.split, self.most = split, most if kind == PICTURES else 1
        self.has_boxes = kind == PICTURES
        self.examples = ShardedExamples(files, f"{split}/{kind}")
        self.ids = self.examples.ids

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.examples)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        boxes = np.zeros((len(indices), self.most, 4), np.float32)
        labels = np.full((len(indices), self.most), -1, np.int64)
        for place, index in enumerate(indices.tolist()):
            its = self.examples.get("labels", index)
            labels[place, : len(its)] = its
            if self.has_boxes:
                boxes[place, : len(its)] = self.examples.get("boxes", index)
        arrays = {"images": self.examples.stacked("images", indices), "labels": labels}
        arrays |= {"boxes": boxes} if self.has_boxes else {}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)


class ImageDetection(ArrayTask):
    """The loss is in nats a picture; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    input = "images"
    axes: tuple[str, ...] = ("batch", "channels", "height", "width")

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        info = self.corpus.info
        shape = self.settings.model_dump(exclude={"dropout"}) if self.settings else {}
        return {**shape, **{key: info[key] for key in ("classes", "size", "small")}}

    def network(self, config: dict[str, Any]) -> Detector:
        """Return the network of a configuration, with random weights."""
        model = of_config(config, self.settings.dropout if self.settings else 0.0)
        # Pictures of single objects have no boxes to learn.
        model.sides.requires_grad_(self.stage != "pretraining")
        return model

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; in fine-tuning its heat map expects few objects again.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        model = super().load(folder)
        assert isinstance(model, Detector)
        if self.stage == "fine_tuning":
            model.expect_little()
        return model

    def examples(self, stage: str, split: str) -> Pictures:
        """Return the single objects of a split in pretraining, and else its pictures with boxes.

        Raises:
            UserError: There are none.
        """
        kind = SINGLES if stage == "pretraining" else PICTURES
        examples = Pictures(self.files, split, kind, self.corpus.info["most_objects"])
        if not len(examples):
            raise UserError(
                f"{stage}: no picture with one label and no box is in the {split} split, and it learns from such; add "
                f"some, or set {stage}: none"
            )
        return examples

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        images, labels = batch["images"], batch["labels"]
        boxes = batch.get("boxes", torch.zeros(*labels.shape, 4, device=images.device))
        if model.training:
            images, boxes, seen = vary(images, boxes, labels)
            labels = seen if "boxes" in batch else labels
        if "boxes" not in batch:
            classes = of_picture(model(images)[0])
            return F.cross_entropy(classes, labels[:, 0], reduction="sum", label_smoothing=smoothing)
        heat, sides = model(images)
        return picture_losses(heat, sides, boxes, labels).sum()

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes and, behind them, the distances to the four sides in pixels.

        Their shape is (batch, rows, columns, classes + 4).
        """
        return torch.cat(model(values), 1).permute(0, 2, 3, 1)


def of_picture(heat: torch.Tensor) -> torch.Tensor:
    """Return the logits of a whole picture's classes, (batch, classes): the highest of all cells.

    From the class of a picture the maps learn where the object is (Oquab et al., 2015,
    https://doi.org/10.1109/CVPR.2015.7298668).

    Args:
        heat: (batch, classes, rows, columns).
    """
    return heat.float().flatten(2).amax(2)


def picture_losses(heat: torch.Tensor, sides: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each picture, (batch,): of its heat map and its boxes, divided by the number of its objects.

    Args:
        heat: Logits of the classes in each cell, (batch, classes, rows, columns).
        sides: Distances to the sides in pixels, (batch, 4, rows, columns).
        boxes: Left, top, right and bottom in pixels, (batch, objects, 4).
        labels: (batch, objects), negative where there is no object.
    """
    near = losses.peaks(boxes, labels, heat.shape[2], heat.shape[3])
    objects = (labels >= 0).sum(1).clamp(min=1)
    return (losses.heat_loss(heat, near, labels) + losses.box_loss(sides, near, boxes)) / objects


def make_task(corpus: Manifest, files: dict[str, Path], settings: Any) -> Task:
    """Return the task over a corpus; see `modelmill.tasks.contract.TaskPart`.

    Args:
        corpus: The manifest that `preprocess` has made.
        files: The corpus's files by their names in it.
        settings: The recipe's `model`; None in evaluation.
    """
    kind = PretrainedDetection if corpus.info.get("model") == AUTO else ImageDetection
    task: Task = kind(corpus, files, settings)
    return task


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return how a checkpoint would be fed, and whether its head is kept; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It is no detector, or does not take the recipe's pictures.
    """
    return pretrained.check(folder, recipe) if isinstance(recipe.model, PretrainedModel) else {}
