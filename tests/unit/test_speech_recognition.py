"""A speech recogniser: its spectra, its network, how symbols become text, and how wrong a text is."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from modelmill.measures import transcripts
from modelmill.models.speech.recogniser import read
from modelmill.models.speech.recordings import IGNORED
from modelmill.models.speech.spectra import LogMel, mel_filters
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_recognition import augmentation
from modelmill.tasks.speech_recognition.demo import DIGITS, WORDS, utterances
from modelmill.tasks.speech_recognition.recipe import Augmentation, RecognitionModel
from modelmill.tasks.speech_recognition.task import SpeechRecognition
from tests.speech import RATE, spoken

ALPHABET = " abcd"
QUIET = {"speed": 0.0, "noise": None, "time_masks": 0, "frequency_masks": 0}


def task_of(**model: Any) -> SpeechRecognition:
    shape = {"mels": 16, "channels": 12, "hidden_size": 10, "num_layers": 2, "dropout": 0.0}
    corpus = Manifest(kind="corpus", info={"corpora": {}, "alphabet": ALPHABET, "sample_rate": RATE})
    torch.manual_seed(0)
    return SpeechRecognition(corpus, {}, RecognitionModel(**{**shape, **model}))


def batch_of(*texts: str) -> dict[str, torch.Tensor]:
    sounds = [torch.from_numpy(spoken(text)).float() for text in texts]
    labels = [torch.tensor([ALPHABET.index(one) for one in text]) for text in texts]
    return {
        "samples": torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True),
        "lengths": torch.tensor([len(one) for one in sounds]),
        "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        "label_lengths": torch.tensor([len(one) for one in labels]),
    }


@pytest.mark.parametrize("hertz", [200, 1000, 3000])
def test_a_tone_is_loudest_in_the_band_around_it(hertz: int) -> None:
    spectra = LogMel(RATE, 24)(torch.sin(2 * math.pi * hertz * torch.arange(RATE) / RATE)[None])
    centres = 700 * (10 ** (np.arange(1, 25) * 2595 * np.log10(1 + RATE / 2 / 700) / 25 / 2595) - 1)
    assert spectra.shape == (1, 101, 24)
    assert int(spectra[0, 50].argmax()) == int(np.abs(centres - hertz).argmin())
    assert float(LogMel(RATE, 24)(torch.zeros(1, RATE)).max()) == pytest.approx(math.log(1e-6))


def test_mel_bands_cover_every_frequency_between_their_centres_evenly() -> None:
    filters = mel_filters(16_000, 512, 10)
    assert filters.shape == (257, 10) and bool((filters >= 0).all()) and float(filters.max()) <= 1
    first, last = int(filters[:, 0].argmax()), int(filters[:, -1].argmax())
    assert filters[first + 1 : last].sum(1).numpy() == pytest.approx(1, abs=1e-5)


def test_what_stands_after_the_end_of_a_recording_changes_nothing() -> None:
    model = task_of().build().eval()
    batch = batch_of("ab", "abcd cb")
    noisy = batch["samples"].clone()
    noisy[0, int(batch["lengths"][0]) :] = 0.3
    logits, frames = model(noisy, batch["lengths"])
    alone, counted = model(batch["samples"][:1, : int(batch["lengths"][0])], batch["lengths"][:1])
    assert frames[0] == counted[0] == alone.shape[1] == 9
    assert logits[0, : frames[0]].detach().numpy() == pytest.approx(alone[0].detach().numpy(), abs=1e-5)


def test_both_directions_are_heard() -> None:
    model = task_of(num_layers=1).build().eval()
    one, other = model(**_sounds("abcd")), model(**_sounds("dbcd"))
    last = model(**_sounds("abca"))
    assert not torch.allclose(one[0][0, -1], other[0][0, -1], atol=1e-5)
    assert not torch.allclose(one[0][0, 0], last[0][0, 0], atol=1e-5)


def _sounds(text: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch_of(text).items() if name in ("samples", "lengths")}


def test_the_loss_is_ctcs_over_all_alignments() -> None:
    """Summed over every path of symbols that reads as the transcript."""
    logits = torch.randn(1, 4, 3, dtype=torch.float64).log_softmax(2)
    paths = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
    probabilities = [
        math.exp(sum(float(logits[0, place, symbol]) for place, symbol in enumerate(path)))
        for path in paths
        if read(path, "ab") == "ab"
    ]

    class Fixed(torch.nn.Module):
        def forward(
            self, samples: torch.Tensor, lengths: torch.Tensor, mask: Any = None
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return logits, torch.tensor([4])

    batch = {"samples": torch.zeros(1, 1), "lengths": torch.ones(1), "labels": torch.tensor([[0, 1]])}
    task, fixed = task_of(), Fixed().eval()
    loss = task.loss(fixed, batch | {"label_lengths": torch.tensor([2])})
    assert loss.item() == pytest.approx(-math.log(sum(probabilities)), rel=1e-5)
    smoothed = task.loss(fixed, batch | {"label_lengths": torch.tensor([2])}, smoothing=0.1)
    assert smoothed.item() == pytest.approx(0.9 * loss.item() - 0.1 * float(logits.mean(2).sum()), rel=1e-5)


def test_augmentation_is_for_training_alone_and_stays_within_its_bounds() -> None:
    task = task_of(augmentation=Augmentation(speed=0.2, noise=20.0))
    model, batch = task.build(), batch_of("abcd")
    assert len({task.loss(model, batch).item() for _ in range(3)}) == 3
    model.eval()
    assert len({task.loss(model, batch).item() for _ in range(3)}) == 1
    lengths = batch["lengths"]
    for _ in range(20):
        samples, found = augmentation.louder_slower(batch["samples"], lengths, Augmentation(speed=0.2, noise=20.0))
        assert len(samples[0]) == found[0] and 1 / 1.21 <= int(found) / int(lengths) <= 1 / 0.79
    quiet, _ = augmentation.louder_slower(batch["samples"], lengths, Augmentation(**{**QUIET, "noise": 20.0}))
    noise = (quiet - batch["samples"]).square().mean().sqrt() / batch["samples"].square().mean().sqrt()
    assert 10 ** (-50 / 20) * 0.9 <= float(noise) <= 0.1 * 1.1


def test_masks_blank_spans_of_time_and_of_bands() -> None:
    ones = torch.ones(64, 50, 20)
    frames = torch.tensor([50, 30] * 32)
    chosen = Augmentation(**{**QUIET, "time_masks": 1, "time_share": 0.2})
    blank = augmentation.masked(ones, frames, chosen)[:, :, 0] == 0
    counts = blank.sum(1)
    assert 0 < int(counts.max()) <= 11 and not blank[1::2, 30:].any()
    assert all(int(row.diff().abs().sum()) <= 2 for row in blank.int())
    bands = augmentation.masked(ones, frames, Augmentation(**{**QUIET, "frequency_masks": 1, "frequency_width": 4}))
    assert 0 < int((bands[:, 0] == 0).sum(1).max()) <= 5 and torch.equal(bands[:, 0], bands[:, 49])


def test_repeated_symbols_are_one_and_blanks_part_what_is_alike() -> None:
    assert read(np.array([0, 2, 2, 0, 2, 3, 3, 1, 1, 0, 2, 1]), ALPHABET) == "aab a"
    assert read(np.array([0, 0]), ALPHABET) == ""


def test_edits_are_the_fewest() -> None:
    assert transcripts.compare(["kitten", "", "abc"], ["sitting", "abc", ""], "characters").edits == [3, 3, 3]
    found = transcripts.compare(["one two three", "nine"], ["one too", "nine"], "words")
    assert found.edits == [2, 0] and found.sizes == [3, 1] and found.rate == 0.5


@given(st.text("ab", max_size=6), st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_edits_are_a_distance(one: str, other: str, third: str) -> None:
    def between(said: str, heard: str) -> int:
        return transcripts.compare([said], [heard], "characters").edits[0]

    assert between(one, other) == between(other, one) and (between(one, other) == 0) == (one == other)
    assert between(one, third) <= between(one, other) + between(other, third)


def test_the_best_constant_may_be_the_beginning_of_a_transcript() -> None:
    training = ["four five", "four six", "nine"]
    assert transcripts.best_constant(training, ["four", "four", "four two"], "words") == ("four", 0.25)


def test_the_demo_has_digits_and_none_among_the_words_and_is_the_same_each_time() -> None:
    found = utterances()
    assert found == utterances() and len({one.speaker for one in found}) == 43
    spoken_digits = {word for one in found if one.kind == "digits" for word in one.text.split()}
    assert spoken_digits == set(DIGITS) and not set(WORDS) & set(DIGITS) and len(set(WORDS)) == len(WORDS)


def test_a_loss_that_no_alignment_gives_is_none_and_has_no_gradient() -> None:
    """A recording that was sped up until its transcript no longer fits must not spoil the batch."""
    task = task_of(augmentation=Augmentation(**QUIET))
    model = task.build()
    batch = batch_of("ab", "ab")
    batch["labels"] = F.pad(batch["labels"], (0, 30), value=1)
    batch["label_lengths"] = torch.tensor([32, 2])
    loss = task.loss(model, batch)
    loss.backward()
    assert math.isfinite(loss.item()) and all(
        torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None
    )
