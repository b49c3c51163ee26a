"""Serves a network that takes noise out of speech, with PyTorch and soundfile alone: the `audio` of each `audio`."""

import base64
import binascii
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

# As in training.
DILATIONS, FLOOR, EPSILON = 4, 1e-5, 1e-5
LONGEST = 600.0  # seconds


class Enhancer(PythonModel):
    """`artifacts["model"]` is a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        import torch
        from safetensors.torch import load_file

        folder = Path(context.artifacts["model"])
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tensors = load_file(folder / "model.safetensors", device=self.device)
        self.size = 4 * round(self.config["window_seconds"] * self.config["sample_rate"] / 4)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Each recording with less noise: a WAV of one channel at the model's sample rate, in base64.

        Raises:
            MlflowException: one is not WAV or FLAC in base64, or is too short or too long.
        """
        return pd.DataFrame({"audio": [self._enhance(text) for text in model_input["audio"]]})

    def _enhance(self, text: str) -> str:
        import soundfile
        import torch

        samples = self._samples(text)
        with torch.inference_mode():
            made = self._network(torch.from_numpy(samples)[None].to(self.device))[0].cpu().numpy()
        sink = io.BytesIO()
        soundfile.write(sink, made, self.config["sample_rate"], format="WAV", subtype="PCM_16")
        return base64.b64encode(sink.getvalue()).decode("ascii")

    def _samples(self, text: str) -> np.ndarray:
        """The mean of the channels at the model's sample rate: float32, (samples,)."""
        import soundfile
        import soxr

        try:
            data = base64.b64decode(text, validate=True)
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                if file.frames > LONGEST * file.samplerate:
                    raise MlflowException.invalid_parameter_value(f"audio: it lasts more than {LONGEST:g} s")
                samples, rate = file.read(dtype="float32", always_2d=True).mean(axis=1), file.samplerate
        except binascii.Error:
            raise MlflowException.invalid_parameter_value("audio: not base64 of a file's bytes") from None
        except soundfile.LibsndfileError as error:
            raise MlflowException.invalid_parameter_value(
                f"audio: cannot be decoded ({error.error_string.rstrip('.')})"
            ) from None
        if rate != self.config["sample_rate"]:
            samples = soxr.resample(samples, rate, self.config["sample_rate"])
        if len(samples) <= self.size // 2:
            raise MlflowException.invalid_parameter_value(f"audio: {len(samples)} samples, too short for the network")
        return samples.astype(np.float32)

    def _network(self, samples: Any) -> Any:
        """As in training."""
        import torch

        window = torch.hann_window(self.size, device=samples.device)
        spectrum = torch.stft(samples, self.size, self.size // 4, window=window, return_complex=True)
        levels = (spectrum.abs() / self.size + FLOOR).log()
        x = self._conv("first", levels - levels.mean((1, 2), keepdim=True))
        for number in range(self.config["blocks"]):
            at = f"blocks.{number}"
            y = torch.relu(self._conv(f"{at}.mix", x))
            weight, bias = (self.tensors[f"{at}.norm.{part}"] for part in ("weight", "bias"))
            y = torch.nn.functional.group_norm(y, 1, weight, bias, EPSILON)
            dilation = 2 ** (number % DILATIONS)
            y = self._conv(f"{at}.times", y, padding=dilation, dilation=dilation, groups=y.shape[1])
            x = x + self._conv(f"{at}.out", torch.relu(y))
        masked = spectrum * torch.sigmoid(self._conv("mask", x))
        return torch.istft(masked, self.size, self.size // 4, window=window, length=samples.shape[1])

    def _conv(self, name: str, x: Any, **how: int) -> Any:
        import torch

        return torch.nn.functional.conv1d(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], **how)


set_model(Enhancer())
