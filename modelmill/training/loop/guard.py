"""The guard against batches that would harm the weights: judged on the device, read when a number is read anyway."""

import math
from typing import NamedTuple

import torch

from modelmill.core.errors import TrainingDiverged
from modelmill.recipe import Training

# How many losses a spike is compared with, as in OLMo 2 (https://arxiv.org/abs/2501.00656, section 3.4).
WINDOW = 128


class Suspect(NamedTuple):
    """A batch that was judged.

    Attributes:
        step: Its step, from 0.
        bad: Whether it is bad, a scalar on the device.
        loss: Its loss, a scalar on the device.
    """

    step: int
    bad: torch.Tensor
    loss: torch.Tensor


class Guard:
    """The judge of batches, by their loss and gradient norm.

    Attributes:
        settings: The recipe's `bad_batches`.
        losses: The last good losses, fp32, (WINDOW,), on the device.
        seen: Their number, int64, on the device.
        skipped: Steps whose batches were left out.
    """

    def __init__(self, settings: Training, device: torch.device) -> None:
        """Start without losses."""
        self.settings = settings.bad_batches
        self.losses = torch.zeros(WINDOW, device=device)
        self.seen = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped: list[int] = []
        self._suspects: list[Suspect] = []

    def judge(self, step: int, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Return whether the batch of a step is bad, a bool scalar on the device, without waiting for it.

        Args:
            step: The step, from 0.
            loss: The batch's loss, a scalar on the device.
            norm: The gradient's norm, a scalar on the device.
        """
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        if self.settings.deviations is not None:
            limit = self.losses.mean() + self.settings.deviations * self.losses.std()
            bad |= (self.seen >= WINDOW) & (loss > limit)
        place = (self.seen % WINDOW).unsqueeze(0)
        self.losses.scatter_(0, place, torch.where(bad, self.losses.gather(0, place), loss.detach()))
        self.seen += ~bad
        self._suspects.append(Suspect(step, bad, loss.detach()))
        return bad

    def look(self) -> Suspect | None:
        """Wait for the verdicts since the last look, and return the batch that was one too many for the recipe."""
        bad = [suspect for suspect in self._suspects if suspect.bad.item()]
        self._suspects = []
        limit = self.settings.limit if self.settings.action == "skip" else 0
        more = limit - len(self.skipped)
        self.skipped += [suspect.step for suspect in bad[: more + 1]]
        return bad[more] if len(bad) > more else None


def diverged(suspect: Suspect, skipped: int, samples: str, kept_step: int | None) -> TrainingDiverged:
    """Return the error for a training that is stopped at a batch.

    Args:
        suspect: The batch.
        skipped: How many batches were skipped before.
        samples: The batch's examples in words.
        kept_step: The step of the newest checkpoint, if there is one.
    """
    loss = suspect.loss.item()
    what = "rose to" if math.isfinite(loss) else "became"
    before = f" after {skipped - 1} skipped batches" if skipped > 1 else ""
    kept = "no checkpoint was due yet" if kept_step is None else f"the checkpoint of step {kept_step} is kept"
    return TrainingDiverged(
        f"the loss {what} {loss:g} in step {suspect.step + 1}{before}, on {samples}; {kept}; "
        "try a lower learning_rate or clip_norm, or look at these samples"
    )
