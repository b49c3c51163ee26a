"""Serves a speech synthesiser with PyTorch alone: the `audio` of each `text`, a WAV of 16 bits in base64."""

import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

# As the network was trained on, and as its evaluation made samples of spectra.
HOP_SECONDS, FLOOR, MEAN, DEVIATION = 0.0125, 1e-6, -7.0, 3.0
ITERATIONS, UPDATES, MOMENTUM, LONGEST = 60, 30, 0.99, 100
BOUNDARY = 0


class SynthesisModel(PythonModel):
    """`artifacts["model"]` is a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self.alphabet, self.rate, self.lowercase = config["alphabet"], config["sample_rate"], config["lowercase"]
        self.weights = load_file(folder / "model.safetensors")
        self.layers = {"encoder": config["encoder_layers"], "duration": 2, "decoder": config["decoder_layers"]}

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One recording a row.

        Raises:
            MlflowException: a text is empty, or has a character that the model does not know.
        """
        import torch

        with torch.inference_mode():
            return pd.DataFrame({"audio": [self._wav(self._say(self._symbols(text))) for text in model_input["text"]]})

    def _symbols(self, text: str) -> Any:
        import torch

        words = " ".join(text.split())
        words = words.lower() if self.lowercase else words
        if not words:
            raise MlflowException.invalid_parameter_value("text: it is empty; say something")
        if unknown := [one for one in words if one not in self.alphabet]:
            raise MlflowException.invalid_parameter_value(
                f"text: {unknown[0]!r} is not in the model's alphabet {self.alphabet!r}; write it with those"
            )
        return torch.tensor([BOUNDARY, *(self.alphabet.index(one) + 1 for one in words), BOUNDARY])

    def _say(self, symbols: Any) -> Any:
        """Log-mel spectra, (frames, mels)."""
        import torch

        hidden = self._blocks("encoder", self.weights["embedding.weight"][symbols])
        lasting = self._linear("frames", self._blocks("duration", hidden))[:, 0].exp().round().long().clamp(1, LONGEST)
        owner = torch.repeat_interleave(torch.arange(len(symbols)), lasting)
        since = torch.arange(len(owner)) - (lasting.cumsum(0) - lasting)[owner] + 0.5
        place = torch.stack([since / lasting[owner], lasting[owner] / 10], 1)
        spoken = self._blocks("decoder", hidden[owner] + self._linear("place", place))
        return self._linear("head", spoken) * DEVIATION + MEAN

    def _linear(self, name: str, values: Any) -> Any:
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _blocks(self, name: str, hidden: Any) -> Any:
        import torch.nn.functional as F

        for number in range(self.layers[name]):
            kernel, bias = (self.weights[f"{name}.{number}.convolution.{part}"] for part in ("weight", "bias"))
            norm = [self.weights[f"{name}.{number}.norm.{part}"] for part in ("weight", "bias")]
            found = F.conv1d(hidden.T[None], kernel, bias, padding=kernel.shape[2] // 2)[0].T
            hidden = hidden + F.gelu(F.layer_norm(found, found.shape[1:], *norm))
        return hidden

    def _wav(self, mel: Any) -> str:
        samples = (self._samples(mel) * 32768).round().clamp(-32768, 32767).short().numpy()
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(samples.astype("<i2").tobytes())
        return base64.b64encode(stream.getvalue()).decode("ascii")

    def _samples(self, mel: Any) -> Any:
        """By the algorithm of Griffin and Lim, in its fast variant."""
        import torch

        filters, window = self.weights["spectra.filters"], self.weights["spectra.window"]
        shape = (2 * (len(filters) - 1), round(self.rate * HOP_SECONDS), len(window), window)
        power = (mel.exp() - FLOOR).clamp(min=0)
        found = power @ (filters / filters.sum(0).clamp(min=1e-12)).T + 1e-12
        for _ in range(UPDATES):
            found = found * ((power @ filters.T) / ((found @ filters) @ filters.T).clamp(min=1e-12))
        magnitude = found.sqrt() * window.sum()
        phases = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0)) * (2 * torch.pi)
        guess, last = torch.polar(torch.ones_like(magnitude), phases), torch.zeros(())
        for _ in range(ITERATIONS):
            samples = torch.istft((magnitude * guess).T[None], *shape)
            consistent = torch.stft(samples, *shape, pad_mode="constant", return_complex=True)[0].T
            moved = consistent + MOMENTUM * (consistent - last)
            guess, last = moved / moved.abs().clamp(min=1e-12), consistent
        samples = torch.istft((magnitude * guess).T[None], *shape)[0]
        return samples / samples.abs().max().clamp(min=1)


set_model(SynthesisModel())
