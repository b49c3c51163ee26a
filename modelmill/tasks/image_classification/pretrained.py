"""A classifier of images that a checkpoint decides, on images that the checkpoint's own processor prepares."""

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint
from modelmill.data.media import image_processor
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.refusing import refused
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime import weights
from modelmill.runtime.weights import read_config
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.image_classification.augmenting import Augmentation
from modelmill.tasks.image_classification.pictures import Pictures
from modelmill.tasks.image_classification.recipe import PretrainedImageModel
from modelmill.tasks.image_classification.sizes import size_arguments
from modelmill.tasks.pretrained import norms
from modelmill.tasks.pretrained.task import PretrainedTask

# Training images that the averages of a network with random weights are taken of.
AVERAGED = 64
# Made-up images of the proof.
PROVED = 3


class PretrainedImages(PretrainedTask):
    """Cross-entropy on the class; see `modelmill.tasks.pretrained.task`.

    Batch normalisation keeps the averages that it has: so an image's answer and gradient depend on no other image, a
    batch that is computed in parts gives the same gradient, and a checkpoint of the training holds all that changes.
    """

    head = PretrainedImageModel.heads[0]
    input = "pixel_values"
    axes: tuple[str, ...] = ("batch",)
    _is_random = False

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        classes: list[str] = self.corpus.info["classes"]
        return classes

    @cached_property
    def processor(self) -> ImageProcessor:
        """Image processor of the checkpoint."""
        with refused(PROCESSOR):
            return ImageProcessor(self.checkpoint)

    @cached_property
    def _augment(self) -> Augmentation:
        black, white = (torch.from_numpy(one) for one in (self.processor.black, self.processor.white))
        return Augmentation(self.settings, black, white)

    def labels_of_head(self) -> list[str]:
        """Return the labels of the head in the data's order."""
        return self.classes

    def build(self) -> nn.Module:
        """Return the network with random weights, whose batch normalisation has the averages of training images."""
        self._is_random = True
        return super().build()

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order; of a network of stages, the stages."""
        lists: dict[str, Any] = {
            n: one for n, one in model.named_modules() if isinstance(one, nn.ModuleList) and len(one)
        }
        outer: list[Any] = [
            one for name, one in lists.items() if not any(name.startswith(f"{other}.") for other in lists)
        ]
        if not outer:
            return _chain(getattr(model, model.base_model_prefix))
        largest: Any = max(outer, key=lambda one: sum(p.numel() for p in one.parameters()))
        return list(largest)

    def examples(self, stage: str, split: str) -> Pictures:
        """Return the examples of a split; see `Task.examples`."""
        return Pictures(self.files, split, self.processor)

    def terms(self, batch: Batch) -> int:
        """Return the number of images."""
        return len(batch["labels"])

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        pixels = batch["pixel_values"]
        if model.training:
            pixels = self._augment(pixels)
        logits = self.logits(model, pixels).float()
        return F.cross_entropy(logits, batch["labels"], reduction="sum", label_smoothing=smoothing)

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of images, (batch, classes)."""
        given = values.to(next(model.parameters()).dtype)
        logits: torch.Tensor = model(pixel_values=given, **size_arguments(model, values.shape[-2:])).logits
        return logits

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return made-up images, together and one by one."""
        draws = torch.Generator().manual_seed(0)
        values = torch.randn(PROVED, *self.processor.shape, generator=draws)
        return {"pixel_values": values}, [{"pixel_values": one[None]} for one in values]

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each image."""
        values = batch["pixel_values"].to(next(model.parameters()).device)
        return list(self.logits(model, values))

    def _proved(self, model: Any, folder: str) -> nn.Module:
        norms.keep_averages(model)
        if self._is_random:  # before the proof: without averages signals vanish on their way through many layers
            self._average(model)
        shape = self.processor.shape
        try:
            return super()._proved(model, folder)
        except UserError as error:
            size = getattr(model.config, "image_size", None)
            if size is None or size in (shape[-1], list(shape[1:]), shape[1:]):
                raise
            raise UserError(
                f"{error}; the checkpoint is of images of {size} pixels a side, its processor gives {shape[2]} x "
                f"{shape[1]}: leave preprocessing.processor.size out, if this network cannot interpolate its positions"
            ) from error

    def _average(self, model: Any) -> None:
        self._is_random = False
        examples = self.examples("fine_tuning", "train")
        first = np.arange(min(AVERAGED, len(examples)))
        norms.begin(model)
        norms.average(model, lambda: self.logits(model, examples.batch(first)["pixel_values"]))


def _chain(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network that are called one after the other and have weights."""
    children: list[nn.Module] = []
    for module in network.children():
        children += module.children() if isinstance(module, nn.Sequential) else [module]
    return [one for one in children if any(True for _ in one.parameters())]


def checked(folder: Path, recipe: Any) -> dict[str, Any]:
    """Return what can be said of a checkpoint before training starts from it; see `contract.Training`.

    Args:
        folder: The folder with the weights.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained on the recipe's images.
    """
    settings, init = recipe.preprocessing, recipe.pretraining.init
    source = settings.given_checkpoint
    described = Path(source) if source != init and Path(source).is_dir() else folder
    labels = read_config(folder).get("id2label") or {0: "a", 1: "b"}
    classes = settings.classes or [str(labels[number]) for number in sorted(labels, key=int)]
    corpus = Manifest(kind="corpus", entries=[], made_from={}, info={"model": AUTO, "classes": classes})
    with tempfile.TemporaryDirectory() as scratch:
        files = {f"{checkpoint.FOLDER}/{file.name}": file for file in weights.describing_files(described)}
        if settings.processor.size is not None:
            resized = Path(scratch) / image_processor.FILE
            with refused(PROCESSOR):
                resized.write_bytes(image_processor.resized(described, settings.processor.size))
            files.pop(f"{checkpoint.FOLDER}/{image_processor.NESTED}", None)
            files[f"{checkpoint.FOLDER}/{image_processor.FILE}"] = resized
        task = PretrainedImages(corpus, files, recipe.model)
        task.load(folder)
    return {name: note for name, note in task.notes.items() if name != "head" or settings.classes}
