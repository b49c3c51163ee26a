"""A speech synthesiser: alignments, how far spectra are apart, samples of spectra, and what padding changes."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.measures import warping
from modelmill.models.speech.spectra import LogMel
from modelmill.models.speech.vocoder import griffin_lim, unmelled
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_synthesis import alignment
from modelmill.tasks.speech_synthesis.network import BOUNDARY, owners
from modelmill.tasks.speech_synthesis.recipe import SynthesisModel
from modelmill.tasks.speech_synthesis.task import SpeechSynthesis
from tests.speech import RATE, spoken


def task_of() -> SpeechSynthesis:
    info = {"corpora": {}, "alphabet": " abcd", "sample_rate": RATE, "lowercase": True}
    torch.manual_seed(0)
    shape = SynthesisModel(mels=16, hidden_size=12, encoder_layers=1, decoder_layers=2, dropout=0.0)
    return SpeechSynthesis(Manifest(kind="corpus", info=info), {}, shape)


def batch_of(*texts: str) -> dict[str, torch.Tensor]:
    sounds = [torch.from_numpy(spoken(text)).float() for text in texts]
    symbols = [torch.tensor([BOUNDARY, *(" abcd".index(one) + 1 for one in text), BOUNDARY]) for text in texts]
    lengths = torch.tensor([len(one) for one in sounds])
    return {
        "samples": torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True),
        "symbols": torch.nn.utils.rnn.pad_sequence(symbols, batch_first=True, padding_value=BOUNDARY),
        "label_lengths": torch.tensor([len(text) for text in texts]),
        "frames": lengths // round(RATE * 0.0125) + 1,
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_alignment_is_the_likeliest_of_all(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(2, 4, 7))
    symbols, frames = np.array([4, 3]), np.array([7, 5])
    found = alignment.search(scores, symbols, frames)
    for row in range(2):
        count, length = symbols[row], frames[row]
        ways = [np.diff([0, *cuts, length]) for cuts in itertools.combinations(range(1, length), count - 1)]
        owner = [np.repeat(np.arange(count), way) for way in ways]
        best = max(range(len(ways)), key=lambda n: scores[row, owner[n], np.arange(length)].sum())
        assert found[row].tolist() == [*ways[best].tolist(), *[0] * (4 - count)]


def test_every_frame_has_the_symbol_that_lasts_then() -> None:
    found = owners(torch.tensor([[2, 1, 3], [1, 2, 0]]))
    assert found.tolist()[0] == [0, 0, 1, 2, 2, 2] and found.tolist()[1][:3] == [0, 1, 1]


def test_padding_changes_no_loss() -> None:
    task = task_of()
    model = task.build().eval()
    alone = [task.loss(model, batch_of(text)).item() for text in ("ab", "dacb ab")]
    assert task.loss(model, batch_of("ab", "dacb ab")).item() == pytest.approx(sum(alone), rel=1e-4)


def test_a_text_is_said_alone_as_training_made_it_speak() -> None:
    task = task_of()
    model: Any = task.build().eval()
    symbols = batch_of("abc")["symbols"]
    lengths = torch.tensor([symbols.shape[1]])
    hidden = model.read(symbols, lengths)
    lasting = model.log_durations(hidden, lengths).exp().round().long().clamp(min=1)
    assert model.say(symbols[0]).shape == (int(lasting.sum()), 16)


def cheapest(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Sakoe and Chiba's recursion as it is written down: cost and steps of the cheapest path."""
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).mean(2))
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i, j in itertools.product(range(len(one)), range(len(other))):
        ways = [best[before] for before in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if before in best]
        cost, steps = min(ways) if ways else (0.0, 0)
        best[i, j] = cost + apart[i, j], steps + 1
    return best[len(one) - 1, len(other) - 1]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (5, 3), (7, 9)])
def test_the_distance_is_that_of_the_cheapest_path(rows: int, columns: int) -> None:
    draw = np.random.default_rng(rows)
    one, other = draw.normal(size=(rows, 4)), draw.normal(size=(columns, 4))
    cost, steps = cheapest(one, other)
    assert warping.distance(one, other) == pytest.approx(cost / steps * 10 / np.log(10))


def test_the_same_said_slower_is_no_distance_away() -> None:
    spectra = np.random.default_rng(0).normal(size=(6, 3))
    assert warping.distance(spectra, np.repeat(spectra, 3, axis=0)) == pytest.approx(0, abs=1e-6)
    assert warping.distance(spectra, spectra + 1) == pytest.approx(10 / np.log(10), rel=0.5)


def test_samples_of_spectra_have_these_spectra() -> None:
    spectra = LogMel(RATE, 40, 0.05, 0.0125)
    real = torch.from_numpy(spoken("abcd")).float()
    mel = spectra(real[None])[0]
    made = griffin_lim(mel, spectra)
    assert torch.equal(made, griffin_lim(mel, spectra)) and float(made.abs().max()) <= 1
    assert warping.distance(spectra(made[None])[0].numpy(), mel.numpy()) < 5
    noise = spectra(torch.randn(1, len(real)) * 0.1)[0].numpy()
    assert warping.distance(noise, mel.numpy()) > 10


def test_power_in_bands_is_made_of_powers_that_are_not_negative() -> None:
    filters = LogMel(RATE, 20).filters
    power = torch.rand(5, len(filters)) @ filters
    found = unmelled(power, filters)
    assert bool((found >= 0).all()) and (found @ filters).numpy() == pytest.approx(power.numpy(), rel=0.1)
