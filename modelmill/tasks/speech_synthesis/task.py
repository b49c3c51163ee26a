"""Speech synthesis: spectra and durations of characters, learned from recordings and their transcripts."""

from typing import Any, Literal

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.corpus.settings import ONLY
from modelmill.models.speech.recordings import Recordings
from modelmill.models.speech.spectra import silenced
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.speech_synthesis import alignment
from modelmill.tasks.speech_synthesis.network import HOP_SECONDS, Synthesiser, framed, owners


class Texts(Recordings):
    """Recordings with their texts; see `Recordings`.

    A batch has two tensors more: `symbols`, int64, (batch, symbols), the texts with BOUNDARY around and after them, and
    `frames`, int64, (batch,), the frames of each recording's spectra.
    """

    hop = 1

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        batch = super().batch(indices)
        return batch | {"symbols": framed(batch["labels"]), "frames": batch["lengths"] // self.hop + 1}


class SpeechSynthesis(ArrayTask):
    """The loss is per frame; see `modelmill.tasks.contract.Task`."""

    unit: Literal["tokens", "samples"] = "tokens"
    input = "symbols"
    axes: tuple[str, ...] = ("batch", "symbols")

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        shape = self.settings.model_dump(exclude={"dropout"}) if self.settings else {}
        return {**shape, **{key: self.corpus.info[key] for key in ("alphabet", "sample_rate", "lowercase")}}

    def network(self, config: dict[str, Any]) -> Synthesiser:
        """Return the network of a configuration, with random weights."""
        return Synthesiser(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Texts:
        """Return the examples of a split in a stage; see `Task.examples`."""
        corpus = stage if stage in self.corpus.info["corpora"] else ONLY
        texts = Texts(ShardedExamples(self.files, f"{split}/{corpus}"), split)
        texts.hop = hop(self.corpus.info["sample_rate"])
        return texts

    def terms(self, batch: Batch) -> int:
        """Return the number of frames."""
        return int(batch["frames"].sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss; see `Task.loss`.

        It is the mean absolute error of each frame's bands, the mean squared error of the spectra that characters have
        by themselves, and the squared error of the logarithms of durations, spread over the frames.
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
        """Return the log-mel spectra of texts, (batch, frames, mels)."""
        return torch.stack([model.say(one) for one in values])


def aligned(prior: torch.Tensor, target: torch.Tensor, symbols: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return how many frames each symbol has, int64, (batch, symbols).

    Each frame is taken as normally distributed around the spectrum that its symbol has by itself.

    Args:
        prior: Spectrum of each symbol by itself, (batch, symbols, mels).
        target: Spectra of the recordings, (batch, frames, mels).
        symbols: Symbols of each text, (batch,).
        frames: Frames of each recording, (batch,).
    """
    scores = -0.5 * torch.cdist(prior.float(), target.float()).square()
    durations = alignment.search(*(one.cpu().numpy() for one in (scores, symbols, frames)))
    return torch.from_numpy(durations).to(prior.device)


def hop(rate: int) -> int:
    """Return the samples from one frame to the next.

    Args:
        rate: Sample rate in Hz.
    """
    return round(rate * HOP_SECONDS)


make_task = SpeechSynthesis
