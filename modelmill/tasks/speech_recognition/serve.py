"""Serves a speech recogniser with PyTorch alone: the `transcript` of each `audio`, a WAV of 16 bits in base64."""

import base64
import io
import json
import wave
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

HOP_SECONDS, FLOOR, STRIDES = 0.01, 1e-6, (2, 1)
BLANK = 0


class RecognitionModel(PythonModel):
    """`artifacts["model"]` is a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self.alphabet, self.rate = config["alphabet"], config["sample_rate"]
        weights = load_file(folder / "model.safetensors")
        self.window, self.filters = weights.pop("spectra.window"), weights.pop("spectra.filters")
        widths = [config["channels"], *[2 * config["hidden_size"]] * (config["num_layers"] - 1)]
        shapes = zip([config["mels"], config["channels"]], STRIDES, strict=True)
        self.parts: Any = torch.nn.ModuleDict(
            {
                "convolutions": torch.nn.ModuleList(
                    torch.nn.Conv1d(width, config["channels"], 5, stride=stride, padding=2) for width, stride in shapes
                ),
                "norms": torch.nn.ModuleList(torch.nn.LayerNorm(config["channels"]) for _ in STRIDES),
                "onward": _lstms(widths, config["hidden_size"]),
                "back": _lstms(widths, config["hidden_size"]),
                "head": torch.nn.Linear(2 * config["hidden_size"], len(self.alphabet) + 1),
            }
        )
        self.parts.load_state_dict(weights)
        self.parts.eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One transcript a row.

        Raises:
            MlflowException: a row is not base64, not such a WAV, or has another sample rate than the model.
        """
        return pd.DataFrame(
            {"transcript": [self._transcribe(_samples(one, self.rate)) for one in model_input["audio"]]}
        )

    def _transcribe(self, samples: np.ndarray) -> str:
        import torch
        import torch.nn.functional as F

        with torch.inference_mode():
            hidden = self._spectra(torch.from_numpy(samples))[None]
            for convolution, norm in zip(self.parts["convolutions"], self.parts["norms"], strict=True):
                hidden = F.gelu(norm(convolution(hidden.transpose(1, 2)).transpose(1, 2)))
            for onward, back in zip(self.parts["onward"], self.parts["back"], strict=True):
                hidden = torch.cat([onward(hidden)[0], back(hidden.flip(1))[0].flip(1)], 2)
            symbols = self.parts["head"](hidden)[0].argmax(1).tolist()
        found = "".join(self.alphabet[symbol - 1] for symbol, _ in groupby(symbols) if symbol != BLANK)
        return " ".join(found.split())

    def _spectra(self, samples: Any) -> Any:
        """As the network was trained on: log-mel, with a mean of 0 and a standard deviation of 1."""
        import torch

        size, hop = 2 * (len(self.filters) - 1), round(self.rate * HOP_SECONDS)
        complex_ = torch.stft(
            samples, size, hop, len(self.window), self.window, pad_mode="constant", return_complex=True
        )
        power = complex_.abs().square().T / self.window.sum() ** 2
        spectra = (power @ self.filters + FLOOR).log()
        return (spectra - spectra.mean()) / (spectra.std(correction=0) + 1e-3)


def _lstms(widths: list[int], hidden: int) -> Any:
    import torch

    return torch.nn.ModuleList(torch.nn.LSTM(width, hidden, batch_first=True) for width in widths)


def _samples(encoded: str, rate: int) -> np.ndarray:
    """The mean of a WAV's channels: float32, (samples,), where full scale is 1."""
    try:
        with wave.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as file:
            known, bits, channels = file.getframerate(), 8 * file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (ValueError, wave.Error, EOFError) as error:
        raise MlflowException.invalid_parameter_value(
            f"audio: not a WAV in base64 ({error}); send what `base64 -w0 FILE.wav` prints"
        ) from None
    if bits != 16:
        raise MlflowException.invalid_parameter_value(f"audio: samples of {bits} bits; save it as WAV of 16 bits")
    if known != rate:
        raise MlflowException.invalid_parameter_value(f"audio: its sample rate is {known} Hz; resample it to {rate} Hz")
    whole = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    if not len(whole):
        raise MlflowException.invalid_parameter_value("audio: it has no samples")
    return whole.mean(1, dtype=np.float32) / (1 << 15)


set_model(RecognitionModel())
