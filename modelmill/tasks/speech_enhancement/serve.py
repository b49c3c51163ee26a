"""Serve a network that takes noise out of speech: the `audio` of each `audio`."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, encode_base64, load_network, read_json, refusal

LONGEST = 600.0  # seconds


class Enhancer(PythonModel):
    """Speech enhancer, loaded from a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.speech_enhancement.network import of_config

        self.rate = read_json(context, "config.json")["sample_rate"]
        self.network = load_network(context, of_config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return each recording with less noise: a WAV of one channel at the model's sample rate, in base64.

        Raises:
            MlflowException: A value is not WAV or FLAC in base64, or is too short or too long.
        """
        return pd.DataFrame({"audio": [self._enhance(text) for text in model_input["audio"]]})

    def _enhance(self, text: str) -> str:
        import torch

        from modelmill.data.media.audio import encode
        from modelmill.tasks.serving.audio import samples_of

        samples = samples_of(text, self.rate, resample=True)
        if len(samples) > LONGEST * self.rate:
            raise refusal(f"audio: it lasts more than {LONGEST:g} s")
        if len(samples) < self.network.shortest:
            raise refusal(f"audio: {len(samples)} samples, too short for the network")
        with torch.inference_mode():
            enhanced = self.network(torch.from_numpy(samples)[None].to(device_of(self.network)))[0].cpu().numpy()
        return encode_base64(encode(enhanced, self.rate))


set_model(Enhancer())
