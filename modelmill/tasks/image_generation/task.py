"""A generative adversarial network: the same game in pretraining and fine-tuning, on different images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.tasks.array_task import Arrays, ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.image_generation import layouts, networks
from modelmill.tasks.image_generation.networks import Adversarial

# Generated images for each real one in validation.
FAKES = 8


class Images(Arrays):
    """Images of one split and stage.

    A batch has `images` (uint8, (batch, channels, size, size)) and `noise` (float32, (batch, latent)), which is a
    function of the examples in it.
    """

    def __init__(self, files: dict[str, Path], split: str, stage: str, latent: int) -> None:
        """Open the arrays of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            stage: `pretraining` or `fine_tuning`.
            latent: Random numbers of an image.
        """
        super().__init__(files, split)
        self.latent = latent
        self.rows = np.flatnonzero(self.arrays["is_learned"] if stage == "fine_tuning" else ~self.arrays["is_target"])
        self.ids = self.ids[self.rows]

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        noise = np.random.default_rng(self.ids[indices]).standard_normal((len(indices), self.latent), np.float32)
        images = torch.from_numpy(self.arrays["images"][self.rows[indices]])
        return {"images": images, "noise": torch.from_numpy(noise)}


class ImageGeneration(ArrayTask):
    """An adversarial network; see `modelmill.tasks.contract.Task`.

    The loss in training is that of the game, which says little. In validation it is the sliced Wasserstein distance of
    generated images to real ones, by which the best weights are chosen.
    """

    input = "noise"

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        known = {key: self.corpus.info[key] for key in ("channels", "size")}
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        if self.settings is None:
            return known
        latent, width = self.settings.latent, self.settings.width
        made = layouts.generator(latent, known["channels"], known["size"], width)
        judge = layouts.discriminator(known["channels"], known["size"], width)
        return {"latent": latent, "width": width, **known, "generator": made, "discriminator": judge}

    def network(self, config: dict[str, Any]) -> Adversarial:
        """Return the network of a configuration, with random weights."""
        return Adversarial(config)

    def examples(self, stage: str, split: str) -> Images:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return Images(self.files, split, stage, self.settings.latent if self.settings else 0)

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the loss of the game in training, and else the distance of generated images; see `Task.loss`."""
        real, noise = batch["images"].float() / 127.5 - 1, batch["noise"]
        if model.training:
            return networks.game(model.discriminator, real, model(noise), self.settings.penalty, self.settings.shift)
        # Rolled rows are as random, and give more images than there are real ones: few make a noisy estimate.
        fake = model(torch.cat([noise.roll(places, 1) for places in range(FAKES)]))
        return networks.sliced_wasserstein(real.repeat(FAKES, 1, 1, 1), fake) * len(real)


make_task = ImageGeneration
