"""Speech synthesis: spectra, and how long each character lasts, from recordings and what is said in them."""

from typing import Any, Literal

import numpy as np
import torch

from modelmill.corpus.settings import ONLY
from modelmill.models.speech.recordings import Recordings
from modelmill.models.speech.spectra import silenced
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.speech_synthesis import alignment
from modelmill.tasks.speech_synthesis.network import HOP_SECONDS, Synthesiser, framed, owners


class Texts(Recordings):
    """Recordings whose batch has `symbols` as well, int64, (batch, symbols): the texts with BOUNDARY around and after
    them; and `frames`, int64, (batch,): how many the spectra of each have.
    """

    hop = 1

    def batch(self, indices: np.ndarray) -> Batch:
        batch = super().batch(indices)
        return batch | {"symbols": framed(batch["labels"]), "frames": batch["lengths"] // self.hop + 1}


class SpeechSynthesis(ArrayTask):
    """The loss is per frame; see `modelmill.tasks.contract.Task`."""

    unit: Literal["tokens", "samples"] = "tokens"
    input = "symbols"
    axes: tuple[str, ...] = ("batch", "symbols")

    def config(self) -> dict[str, Any]:
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        shape = self.settings.model_dump(exclude={"dropout"}) if self.settings else {}
        return {**shape, **{key: self.corpus.info[key] for key in ("alphabet", "sample_rate", "lowercase")}}

    def network(self, config: dict[str, Any]) -> Synthesiser:
        return Synthesiser(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Texts:
        found = Texts(self.files, split, stage if stage in self.corpus.info["corpora"] else ONLY)
        found.hop = hop(self.corpus.info["sample_rate"])
        return found

    def terms(self, batch: Batch) -> int:
        return int(batch["frames"].sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """The mean absolute error of each frame's bands; and, of the alignment, that of the spectra that characters
        have by themselves (squared), and of the logarithms of durations (squared, shared out over the frames).
        """
        frames, lengths = batch["frames"], batch["label_lengths"] + 2
        target = silenced(model.target(batch["samples"]), frames)
        hidden = model.read(batch["symbols"], lengths)
        prior = model.prior(hidden)
        durations = aligned(prior.detach(), target, lengths, frames)
        rows = torch.arange(len(durations), device=durations.device)[:, None]
        error = silenced((model.speak(hidden, durations) - target).abs(), frames).mean(2).sum()
        apart = silenced((prior[rows, owners(durations)] - target).square(), frames).mean(2).sum()
        wrong = (model.log_durations(hidden, lengths) - durations.clamp(min=1).log())[:, :, None].square()
        late = (silenced(wrong, lengths).sum((1, 2)) * frames / lengths).sum()
        loss: torch.Tensor = error + apart + late
        return loss

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        return torch.stack([model.say(one) for one in values])


def aligned(prior: torch.Tensor, target: torch.Tensor, symbols: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """How many frames each symbol has, int64, (batch, symbols), where each frame is normally distributed around the
    spectrum that its symbol has by itself.

    Args:
        prior: (batch, symbols, mels). target: (batch, frames, mels). symbols, frames: how many each has, (batch,).
    """
    scores = -0.5 * torch.cdist(prior.float(), target.float()).square()
    found = alignment.search(*(one.cpu().numpy() for one in (scores, symbols, frames)))
    return torch.from_numpy(found).to(prior.device)


def hop(rate: int) -> int:
    return round(rate * HOP_SECONDS)


make_task = SpeechSynthesis
