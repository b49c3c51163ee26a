"""The detector of a checkpoint: any that `transformers` has for object detection."""

import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Examples
from modelmill.tasks.image_detection import processor
from modelmill.tasks.image_detection.detection import Boxes
from modelmill.tasks.image_detection.framed import Framed, Group, batch_of, example, groups
from modelmill.tasks.image_detection.picture_losses import PictureLosses
from modelmill.tasks.image_detection.processor import Unprepared
from modelmill.tasks.image_detection.recipe import PretrainedDetector, Recipe
from modelmill.tasks.image_detection.varied import Variation
from modelmill.tasks.pretrained.proof import Way
from modelmill.tasks.pretrained.task import PretrainedTask

# Pixels of made-up pictures before the processor, and how many objects each has.
SIDES, OBJECTS = (96, 128), (1, 2)
# Names of weights in the stages of a DETR's ResNet after the first.
_UPPER = re.compile(r"\bbackbone\.model\.encoder\.stages\.[1-9]\.")


class PictureWay(Way):
    """A way of feeding a detector; see `Way`."""

    @property
    def words(self) -> str:
        """Return the way in words."""
        together = "pictures of one size together" if self.padded else "a picture at a time"
        return f"{together}, {self.attention} attention" if self.attention else together


class PretrainedDetection(PretrainedTask):
    """The loss of a picture is transformers' own, as of a batch of one; see `modelmill.tasks.contract.Task`."""

    head = PretrainedDetector.heads[0]
    input = "values"
    axes: tuple[str, ...] = ("batch",)

    @cached_property
    def processor(self) -> Any:
        """The checkpoint's image processor."""
        try:
            return processor.load(self.checkpoint)
        except Unprepared as error:
            raise UserError(f"{PROCESSOR}: {error}") from error

    @cached_property
    def variation(self) -> Variation | None:
        """The changes of pictures in training; None where the recipe wants none."""
        return Variation(self.settings, self.processor) if self.settings and self.settings.varies else None

    def labels_of_head(self) -> list[str]:
        """Return the classes in the data's order."""
        classes: list[str] = self.corpus.info["classes"]
        return classes

    def prepare(self, step: Step, model: nn.Module, settings: Any) -> None:
        """Check that processes can share the weights; see `modelmill.tasks.contract.OpenTask`.

        Raises:
            UserError: Weights are to be sharded, and pictures differ in size, so that processes would call the model
                unequally often.
        """
        is_sharded = settings.strategy == "fsdp" and settings.devices * settings.nodes > 1
        if is_sharded and not (processor.has_one_size(self.processor) and self.way.padded):
            raise UserError(
                f"{step.name}.strategy: fsdp needs pictures of one size, and this checkpoint's processor keeps their "
                "shapes; set strategy: ddp"
            )

    def whole(self, model: Any) -> list[str]:
        """Return the names of modules that are trained whole beside adapters.

        Raises:
            UserError: Layers share one head, which `peft` would take apart.
        """
        names = super().whole(model)
        every = dict(model.named_modules())
        held = {id(parameter) for name in names for parameter in every[name].parameters()}
        for name, module in every.items():
            is_other = not any(f"{name}.".startswith(f"{one}.") for one in names)
            if is_other and any(id(parameter) in held for parameter in module.parameters(recurse=False)):
                raise UserError(
                    f"fine_tuning.method: layers of {type(model).__name__} share their head ({name}), which adapters "
                    "would take apart; set method: full"
                )
        return names

    def examples(self, stage: str, split: str) -> Examples:
        """Return the pictures of a split."""
        return Framed(self.files, split, self.processor)

    def terms(self, batch: Batch) -> int:
        """Return the number of pictures."""
        return len(batch["labels"])

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss; see `Task.loss`."""
        keep_statistics(model)
        parts = self._groups(model, batch)
        if model.training and self.variation:
            parts = [self.variation(group) for group in parts]
        return torch.cat([model(**group.inputs, labels=group.labels).loss for group in parts]).sum()

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of each query and, behind them, its box: (batch, queries, classes + 4)."""
        said = model(pixel_values=values.to(model.dtype))
        return torch.cat([said.logits, said.pred_boxes], -1)

    @torch.no_grad()
    def answers(
        self, model: Any, batch: Batch, sizes: list[tuple[int, int]], least: float
    ) -> tuple[list[Boxes], torch.Tensor]:
        """Return what a detector finds in each picture, in its pixels and best first, and the loss of each.

        Args:
            model: The detector, in evaluation.
            batch: As `Framed` makes it.
            sizes: Height and width of each picture.
            least: The least probability of a box.
        """
        found: dict[int, Boxes] = {}
        losses = torch.zeros(len(sizes), device=batch["values"].device)
        for group in self._groups(model, batch):
            said = model(**group.inputs, labels=group.labels)
            losses[group.places] = said.loss
            places = [
                processor.Place(
                    sizes[one], tuple(batch["frames"][one].tolist()), tuple(batch["contents"][one].tolist())
                )
                for one in group.places
            ]
            its = processor.found(self.processor, said, places, least)
            found |= {one: Boxes(*boxes) for one, boxes in zip(group.places, its, strict=True)}
        return [found[one] for one in range(len(sizes))], losses

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return pictures of noise, of one size, with objects at random places."""
        random = np.random.default_rng(0)
        pictures = []
        for count in OBJECTS:
            low = random.uniform(0, 60, (count, 2))
            boxes = np.hstack([low, low + random.uniform(8, 30, (count, 2))])
            labels = random.integers(len(self.labels_of_head()), size=count)
            pixels = random.integers(0, 256, (*SIDES, 3), dtype=np.uint8)
            pictures.append(example(pixels, Boxes(boxes, labels, np.ones(count)), self.processor))
        return batch_of(pictures), [batch_of([one]) for one in pictures]

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the loss of each picture and the logits and boxes of its queries."""
        (group,) = groups(model, batch)
        said = model(**group.inputs, labels=group.labels)
        self._width = said.logits.shape[-1]
        rows = torch.cat([said.logits, said.pred_boxes], -1).flatten(1)
        return list(torch.cat([said.loss[:, None].to(rows.dtype), rows], 1))

    def _groups(self, model: Any, batch: Batch) -> list[Group]:
        return list(groups(model, batch, alone=not self.way.padded))

    def _proved(self, model: Any, folder: str) -> nn.Module:
        """Return a model set up for the way of feeding that is right.

        Raises:
            UserError: Its processor reads other classes than it has, or it does not take the recipe's pictures.
        """
        thaw(model)
        mend_gradients(model)
        model.loss_function = PictureLosses(model.loss_function)
        try:
            proved = super()._proved(model, folder)
        except Unprepared as error:
            raise UserError(f"{PROCESSOR}: {error}") from error
        self.way = PictureWay(*self.way)
        self.notes["way"] = self.way.words
        reads, classes = classes_read(self.processor, self._width), len(self.labels_of_head())
        if reads != classes:
            raise UserError(
                f"{self.key}: {folder}: its processor, {type(self.processor).__name__}, reads {reads} classes of a "
                f"network that has {classes}; it is another detector's: name the right one in {PROCESSOR}"
            )
        return proved


def classes_read(its: Any, logits: int) -> int:
    """Return how many classes a processor reads in a detector's logits: all of them, or all but one for no object.

    Args:
        its: The processor.
        logits: Logits of a query.
    """
    sure = torch.full((1, 1, logits), -9.0)
    sure[..., -1] = 9.0
    outputs = _Outputs(sure, torch.full((1, 1, 4), 0.5))
    (answer,) = its.post_process_object_detection(outputs, threshold=0.5, target_sizes=[(8.0, 8.0)])
    return logits if len(answer["labels"]) else logits - 1


class _Outputs(NamedTuple):
    """What a detector returns, as far as processors read it."""

    logits: Any
    pred_boxes: Any


def thaw(model: nn.Module) -> None:
    """Train the upper stages of a ResNet, in place, as the authors of DETR do.

    transformers means to freeze the first stage alone, but looks for the stages by other names and freezes them all.
    """
    for name, parameter in model.named_parameters():
        if _UPPER.search(name):
            parameter.requires_grad_(True)


def mend_gradients(model: nn.Module) -> None:
    """Hand whole gradients to batch normalisation, in place.

    On a CPU, PyTorch 2.13 computes other ones for a single picture where those that come in are transposed, as they are
    before attention, and batch normalisation keeps its averages.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_hook(_take_whole)


def _take_whole(module: nn.Module, given: Any, made: torch.Tensor) -> None:
    if made.requires_grad:
        made.register_hook(torch.Tensor.contiguous)


def keep_statistics(model: nn.Module) -> None:
    """Keep the averages of batch normalisation, in place: a batch's own would depend on how it is divided.

    Detectors are trained in this way, since their batches are small (Carion et al., 2020,
    https://arxiv.org/abs/2005.12872, section 4).
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def check(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return how a checkpoint would be fed, and whether its head is kept.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It is no detector, or does not take the recipe's pictures.
    """
    settings = recipe.preprocessing
    given = Path(settings.given_checkpoint or folder)
    described = checkpoint.files(given if given.is_dir() else folder)
    if settings.processor.size is not None:
        try:
            described = processor.with_size(described, settings.processor.size)
        except Unprepared as error:
            raise UserError(f"{PROCESSOR}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="modelmill-check-") as scratch:
        files = {name: Path(scratch) / Path(name).name for name in described}
        for name, data in described.items():
            files[name].write_bytes(data)
        corpus = Manifest(kind="corpus", info={"model": AUTO, "classes": settings.classes})
        task = PretrainedDetection(corpus, files, recipe.model)
        task.load(folder)
        return task.notes
