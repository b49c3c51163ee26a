"""Serve a speech synthesiser: the `audio` of each `text`, a WAV of 16 bits in base64."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import device_of, encode_base64, load_network, read_json, refusal


class SynthesisModel(PythonModel):
    """Speech synthesiser, loaded from a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.tasks.speech_synthesis.network import Synthesiser

        self.config = read_json(context, "config.json")
        self.network = load_network(context, Synthesiser)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a recording a row.

        Raises:
            MlflowException: A text is empty, or has a character that the model does not know.
        """
        return pd.DataFrame({"audio": [self._speak(self._numbers(text)) for text in model_input["text"]]})

    def _numbers(self, text: str) -> list[int]:
        """Return the numbers of the text's characters in the alphabet."""
        words, alphabet = " ".join(text.split()), self.config["alphabet"]
        words = words.lower() if self.config["lowercase"] else words
        if not words:
            raise refusal("text: it is empty; say something")
        if unknown := [one for one in words if one not in alphabet]:
            raise refusal(f"text: {unknown[0]!r} is not in the model's alphabet {alphabet!r}; write it with those")
        return [alphabet.index(one) for one in words]

    def _speak(self, numbers: list[int]) -> str:
        import torch

        from modelmill.data.media.audio import encode
        from modelmill.models.speech.vocoder import griffin_lim
        from modelmill.tasks.speech_synthesis.network import framed

        with torch.inference_mode():
            mel = self.network.say(framed(torch.tensor(numbers)).to(device_of(self.network)))
            samples = griffin_lim(mel, self.network.spectra).cpu().numpy()
        return encode_base64(encode(samples, self.config["sample_rate"]))


set_model(SynthesisModel())
