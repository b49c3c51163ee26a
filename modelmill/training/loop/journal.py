"""The record of a training's steps. Losses stay on the device until a number is needed."""

import math
import time
from typing import NamedTuple

import torch

from modelmill.recipe import Training

HISTORY_ROWS = 1000
LOOK_SECONDS = 0.5


class Due(NamedTuple):
    """What the clock, or a signal, asks for after a step.

    Attributes:
        look: Whether to read the losses.
        save: Whether to save a checkpoint.
        end: Whether to end.
    """

    look: bool
    save: bool
    end: bool


class Pace:
    """The clock that says when to read the losses and when to save."""

    def __init__(self, settings: Training) -> None:
        """Start the clock."""
        self.checkpoint_seconds = settings.checkpoint_seconds
        self.looked = -math.inf
        self.saved = time.monotonic()

    def due(self, terminated: bool) -> Due:
        """Return what is due now."""
        now = time.monotonic()
        look, save = now - self.looked >= LOOK_SECONDS, now - self.saved >= self.checkpoint_seconds
        self.looked = now if look else self.looked
        self.saved = now if save or terminated else self.saved
        return Due(look, save or terminated, terminated)


class Journal:
    """The writer of a training's history: about a thousand rows in all, and those with a validation loss.

    Attributes:
        history: The rows.
        every: How many steps apart rows are.
    """

    def __init__(self, history: list[dict[str, float]], settings: Training) -> None:
        """Continue a history."""
        self.history = history
        self.every = max(1, settings.steps // HISTORY_ROWS)
        self._pending: list[tuple[dict[str, float], torch.Tensor]] = []

    def add(self, step: int, rate: float, loss: torch.Tensor, validation_loss: float | None) -> None:
        """Add a step to the history, if its row is due; its loss stays on the device.

        Args:
            step: The number of finished steps.
            rate: The learning rate of the step.
            loss: The step's loss, a scalar on the device.
            validation_loss: The validation loss after the step, where it was measured.
        """
        row = {"step": step, "learning_rate": rate}
        if validation_loss is not None:
            row["validation_loss"] = validation_loss
        if step % self.every == 0 or validation_loss is not None:
            self._pending.append((row, loss))

    def read(self) -> None:
        """Wait for the device and put pending rows into the history, without losses that are not finite."""
        for row, loss in self._pending:
            row["loss"] = loss.item()
            if math.isfinite(row["loss"]):
                self.history.append(row)
        self._pending = []
