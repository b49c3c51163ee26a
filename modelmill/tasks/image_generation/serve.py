"""Serve an image generator: an `image` for each `seed`, a grid if `count` is more than one."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import encode_base64, load_network, refusal

MOST = 1024


class ImageGenerator(PythonModel):
    """Image generator, loaded from a folder with `model.safetensors` and a `config.json` that describes the layers."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.image_generation.networks import Adversarial

        self.network = load_network(context, Adversarial)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a PNG file in base64 a row: the same for the same seed.

        Raises:
            MlflowException: A seed is negative, or a count is not from 1 to 1,024.
        """
        asked = zip(model_input["seed"].tolist(), model_input["count"].tolist(), strict=True)
        return pd.DataFrame({"image": [self._make(int(seed), int(count)) for seed, count in asked]})

    def _make(self, seed: int, count: int) -> str:
        import numpy as np

        from modelmill.data.media.images import png
        from modelmill.tasks.image_generation.generating import generate, grid

        if seed < 0 or not 1 <= count <= MOST:
            raise refusal(f"seed must be 0 or more, and count from 1 to {MOST:,}")
        noise = np.random.default_rng(seed).standard_normal((count, self.network.latent), np.float32)
        return encode_base64(png(grid(generate(self.network, noise))))


set_model(ImageGenerator())
