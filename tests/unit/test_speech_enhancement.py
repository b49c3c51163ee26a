"""Speech enhancement: the ratios in dB, noise of any colour, the network, and a filter that learns nothing."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_enhancement import sounds, wiener
from modelmill.tasks.speech_enhancement.recipe import MaskModel
from modelmill.tasks.speech_enhancement.task import SpeechEnhancement

RATE = 8_000


def tone(seconds: float = 1.0, hertz: float = 440.0) -> torch.Tensor:
    times = torch.arange(round(seconds * RATE)) / RATE
    return 0.3 * torch.sin(2 * math.pi * hertz * times)[None]


def noise(seed: int, samples: int = RATE) -> torch.Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def test_si_sdr_is_the_ratio_of_what_is_along_the_clean_signal_to_the_rest() -> None:
    clean = tone()
    other = tone(hertz=880.0)  # orthogonal to it
    assert float(sounds.si_sdr(clean + 0.1 * other, clean)) == pytest.approx(20, abs=1e-3)
    assert float(sounds.si_sdr(5 * (clean + 0.1 * other), clean)) == pytest.approx(20, abs=1e-3), "whatever its scale"
    assert float(sounds.si_sdr(other, clean)) < -40 < 60 < float(sounds.si_sdr(0.5 * clean, clean))
    assert float(sounds.error(clean + 0.1 * other, clean)) == pytest.approx(-20, abs=0.01)
    assert float(sounds.error(0.5 * clean, clean)) == pytest.approx(-6.02, abs=0.01), "too soft is wrong as well"
    assert float(sounds.error(torch.zeros_like(clean), torch.zeros_like(clean))) == pytest.approx(0)


def test_noise_is_as_loud_as_is_asked_and_of_several_colours() -> None:
    torch.manual_seed(0)
    clean, many = tone().repeat(40, 1), sounds.coloured(40, RATE, torch.device("cpu"))
    assert many.square().mean(1).allclose(torch.ones(40), atol=1e-4)
    noisy = sounds.at_ratio(clean, many, torch.full((40, 1), 10.0))
    assert (noisy - clean).square().mean(1).allclose(clean.square().mean(1) / 10, rtol=1e-3)
    powers = torch.fft.rfft(many).abs().square()
    low = powers[:, :100].sum(1) / powers.sum(1)
    assert low.min() < 0.15 and low.max() > 0.6


def task_of(stage: str, **model: Any) -> SpeechEnhancement:
    settings = MaskModel(**{"channels": 8, "blocks": 5, "dropout": 0.0, "segment_seconds": 0.25} | model)
    task = SpeechEnhancement(Manifest(kind="corpus", info={"sample_rate": RATE}), {}, settings)
    task.stage = stage
    torch.manual_seed(0)
    return task


def test_a_mask_of_ones_gives_back_what_was_heard(tmp_path: Path) -> None:
    model = task_of("fine_tuning").build().eval()
    torch.nn.init.constant_(model.mask.bias, 30.0)
    heard = noise(1, RATE + 13) / 10
    with torch.no_grad():
        assert model(heard).allclose(heard, atol=1e-5)
        torch.nn.init.constant_(model.mask.bias, 0.0)
        assert (4 * model(heard)).allclose(model(4 * heard), atol=2e-3), "loudness as such says nothing"


def test_validation_draws_the_same_noise_and_training_another() -> None:
    task = task_of("pretraining")
    model = task.build()
    batch = {"samples": tone().repeat(2, 1), "keys": torch.tensor([3, 4])}
    with torch.no_grad():
        model.eval()
        first, again = (float(task.loss(model, batch)) for _ in range(2))
        other = float(task.loss(model, batch | {"keys": torch.tensor([3, 5])}))
        model.train()
        losses = {float(task.loss(model, batch)) for _ in range(2)}
    assert first == again != other and len(losses) == 2


def test_training_hears_the_same_times_of_both() -> None:
    task = task_of("fine_tuning")
    noisy = torch.arange(2.0 * RATE).repeat(3, 1)
    one, other = task._segments(noisy, 2 * noisy)
    assert one.shape == (3, RATE // 4) and other.allclose(2 * one)
    gains = (one[:, 1:] - one[:, :-1]).mean(1)
    assert ((gains > 0.49) & (gains < 2.01)).all() and gains.max() / gains.min() > 1.1
    assert (one[:, 0] / gains).round().unique().numel() == 3, "each at its own place"


def test_a_wiener_filter_takes_steady_noise_out_and_leaves_what_is_clean() -> None:
    clean = tone(2.0).numpy()[0] * (np.arange(2 * RATE) // (RATE // 4) % 2)
    noisy = clean + 0.1 * noise(3, 2 * RATE).numpy()[0]

    def ratio(sound: np.ndarray) -> float:
        return float(sounds.si_sdr(torch.from_numpy(sound), torch.from_numpy(clean)))

    assert ratio(wiener.enhance(noisy, RATE)) > ratio(noisy) + 3
    assert ratio(wiener.enhance(clean, RATE)) > 20
