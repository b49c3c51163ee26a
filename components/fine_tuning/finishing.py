"""What becomes of a model once it is trained: adapters are merged, and it is exported, if the recipe says so."""

import shutil
from pathlib import Path

import numpy as np
from torch import nn

from modelmill.components.fine_tuning import export, lora
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.sections import FineTuning
from modelmill.tasks.contract import Task

# Real examples that another form of the model is held against, and what is seen of a long one: the model is on the CPU.
EXAMPLES, LENGTH = 4, 128


class Finishing:
    """Set up before training, so that what cannot be done afterwards is found before it."""

    def __init__(self, task: Task, model: nn.Module, settings: FineTuning, scratch: Path) -> None:
        """Add the adapters to the model, in place, and try the export.

        Raises:
            UserError: adapters match no module, or a library is missing. ModelmillError: there is no such export.
        """
        self.task = task
        self.settings = settings
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
            self.adapters = lora.add_adapters(model, adapted)

    def finish(self, model: nn.Module, output: Path) -> nn.Module:
        """The model to keep; adapters and the export are written below `output`.

        Args:
            model: trained, in fp32 on the CPU.
        Raises:
            ModelmillError: the merged or the exported model does not say what the trained one does.
        """
        if self.adapters is not None:
            self.adapters.save(output)
            model = self.adapters.merge(lambda one: self.task.logits(one, self.values))
        if self.settings.onnx:
            export.export(self.task, model, self.values, output)
        return model
