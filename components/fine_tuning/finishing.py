"""The work on a model after training: adapters are merged and the model is exported, if the recipe says so."""

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modelmill.components.fine_tuning import export, lora
from modelmill.models import joining
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.sections import FineTuning
from modelmill.tasks.contract import OpenTask

# Real examples for checking another form of the model, and how much of a long one: the model is on the CPU.
EXAMPLES, LENGTH = 4, 128


class Finishing:
    """The finisher of a model, set up before training, so that problems of the export come up before it.

    Attributes:
        task: The task.
        settings: The stage's settings.
        dtype: Number format of the weights that are kept.
        values: The task's input for real examples, where another form of the model has to be checked.
        adapters: The adapters that were added, if any.
    """

    def __init__(
        self, task: OpenTask, model: nn.Module, settings: FineTuning, scratch: Path, dtype: torch.dtype = torch.float32
    ) -> None:
        """Add the adapters to the model, in place, and try the export.

        Args:
            task: The task.
            model: The model before training.
            settings: The stage's settings.
            scratch: A folder for the trial.
            dtype: Number format of the weights that are kept.

        Raises:
            UserError: Adapters match no module, or a library is missing.
            ModelmillError: The model cannot be exported.
        """
        self.task = task
        self.settings = settings
        self.dtype = dtype
        adapted = settings if isinstance(settings, AdaptedFineTuning) and settings.adapted else None
        if adapted or settings.onnx:
            held_out = task.examples("fine_tuning", "validation")
            values = held_out.batch(np.arange(EXAMPLES) % len(held_out))[task.input]
            self.values = values[:, :LENGTH] if "length" in task.axes else values
        if settings.onnx:
            export.require_libraries()
            export.export(task, model, self.values, scratch / "tried")
            shutil.rmtree(scratch / "tried")
        self.adapters = None
        if adapted:
            self.adapters = lora.add_adapters(model, adapted, task.whole(model))

    def finish(self, model: nn.Module, output: Path) -> nn.Module:
        """Return the model to keep; adapters and the export are written below `output`.

        Args:
            model: The trained model, on the CPU.
            output: The folder to write into.

        Raises:
            ModelmillError: The merged or exported model does not compute what the trained one does.
        """
        if self.adapters is not None:
            self.adapters.save(output)
            model = self.adapters.merge(lambda one: self.task.logits(one, self.values))
        model = joining.rounded(model, self.dtype)
        if self.settings.onnx:
            # What is kept, computed in fp32: the numbers are those that were rounded.
            export.export(self.task, model.float(), self.values, output)
        return joining.rounded(model, self.dtype)
