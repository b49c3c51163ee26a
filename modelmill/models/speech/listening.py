"""Networks of `transformers` that transcribe speech: how they are called, and what they write down.

What a network makes of a recording must not depend on the recordings beside it. Where it does, as with the group
normalisation of wav2vec 2.0's base models, recordings of one length at a time are put through it.
"""

import contextlib
import inspect
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.models.speech.features import MASK, SIZES, Features

# Recordings in a batch of `Listener.hear`.
BATCH = 8
DECODER = "decoder_input_ids"

Batch = dict[str, torch.Tensor]


class Said(NamedTuple):
    """What a network says of a batch.

    Attributes:
        logits: (batch, frames or tokens, vocabulary).
        frames: Frames of each recording, int64, (batch,); None of a network with a decoder.
    """

    logits: torch.Tensor
    frames: torch.Tensor | None


def say(model: Any, name: str, batch: Batch, is_padded: bool) -> Said:
    """Return what a network says of a batch.

    Args:
        model: The network, with a CTC head or a decoder.
        name: Name of its input.
        batch: As `Features.batch` makes it and, for a decoder, `decoder_input_ids`, (batch, tokens).
        is_padded: Whether recordings of several lengths are put through it at once, with a mask.
    """
    said, numbers = [], []
    for rows, given in _calls(name, batch, is_padded):
        with _short_enough_to_mask(model, name, given):
            logits = model(**given).logits
        frames = None if DECODER in given else _frames(model, name, given, logits)
        said.append(Said(logits, frames))
        numbers.append(rows)
    if len(said) == 1:
        return said[0]
    order = torch.cat(numbers).argsort()
    longest = max(one.logits.shape[1] for one in said)
    logits = torch.cat([torch.nn.functional.pad(one.logits, (0, 0, 0, longest - one.logits.shape[1])) for one in said])
    counts = [one.frames for one in said if one.frames is not None]
    return Said(logits[order], torch.cat(counts)[order] if counts else None)


def _calls(name: str, batch: Batch, is_padded: bool) -> Iterator[tuple[torch.Tensor, Batch]]:
    """Yield the numbers of the recordings of each call, and what the network is given."""
    given = {key: batch[key] for key in (name, MASK, DECODER) if key in batch}
    sizes = batch[SIZES]
    if is_padded or len(set(sizes.tolist())) == 1:
        yield torch.arange(len(sizes), device=sizes.device), given
        return
    for size in sorted(set(sizes.tolist())):
        rows = torch.nonzero(sizes == size).flatten()
        some = {key: tensor[rows] for key, tensor in given.items()}
        yield rows, {key: one if key == DECODER else one[:, :size] for key, one in some.items()}


def _frames(model: Any, name: str, given: Batch, logits: torch.Tensor) -> torch.Tensor:
    """Return the frames of each recording, int64, (batch,), as the network's own loss counts them."""
    values = given[name]
    everything = torch.full((len(values),), values.shape[1], device=values.device)
    lengths = given[MASK].sum(-1) if MASK in given else everything
    for method in ("_get_feat_extract_output_lengths", "_get_subsampling_output_length"):
        if hasattr(model, method):
            return getattr(model, method)(lengths).long().clamp(max=logits.shape[1])
    return torch.full_like(everything, logits.shape[1])


@contextlib.contextmanager
def _short_enough_to_mask(model: Any, name: str, given: Batch) -> Iterator[None]:
    """Enter a block in which a batch that is shorter than a span of SpecAugment is not masked: transformers refuses it.

    The spans are drawn by NumPy, whose generator is seeded from PyTorch's for the block: a step's draws are then a
    function of its seed alone.
    """
    config = model.config
    # Where a configuration does not say, networks that can mask do.
    if not model.training or not getattr(config, "apply_spec_augment", hasattr(config, "mask_time_length")):
        yield
        return
    count = None if DECODER in given else getattr(model, "_get_feat_extract_output_lengths", None)
    frames = int(count(torch.tensor([given[name].shape[1]]))) if count else config.mask_time_length
    before = np.random.get_state()
    np.random.seed(int(torch.randint(2**31, ())))
    config.apply_spec_augment = frames >= config.mask_time_length
    try:
        yield
    finally:
        config.apply_spec_augment = True
        np.random.set_state(before)


def load(folder: Path) -> Any:
    """Return the network in a folder, with the head that its `config.json` names."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = getattr(transformers, config.architectures[0])
    transformers.utils.logging.disable_progress_bar()
    return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)


class Listener:
    """Features, tokens and decoding of a checkpoint's folder.

    Attributes:
        features: The feature extractor.
        tokenizer: The tokenizer of `transformers`.
    """

    def __init__(self, folder: Path) -> None:
        """Load feature extractor and tokenizer of a folder."""
        from transformers import AutoTokenizer

        self.features = Features(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    @torch.no_grad()
    def hear(self, model: Any, sounds: Iterable[np.ndarray], is_padded: bool = False) -> list[str]:
        """Return a network's transcripts of recordings.

        Args:
            model: The network, for evaluation.
            sounds: Recordings, each float32, (samples,), where full scale is 1.
            is_padded: See `say`.
        """
        texts: list[str] = []
        waiting = iter(sounds)
        while some := list(itertools.islice(waiting, BATCH)):
            batch = {name: tensor.to(model.device) for name, tensor in self.features.batch(some).items()}
            texts += (
                self._written(model, batch, is_padded)
                if model.can_generate()
                else self._spelled(model, batch, is_padded)
            )
        return [" ".join(text.split()) for text in texts]

    def text_of(self, tokens: np.ndarray) -> str:
        """Return the text of a transcript's tokens, without special ones."""
        special = {number for number in self.tokenizer.all_special_ids if number is not None}
        special -= {getattr(self.tokenizer, "word_delimiter_token_id", None)}
        return " ".join(self._joined([one for one in tokens.tolist() if one not in special]).split())

    def _spelled(self, model: Any, batch: Batch, is_padded: bool) -> list[str]:
        """Return the texts of the most likely tokens of all frames, without repetitions and blanks."""
        said = say(model, self.features.name, batch, is_padded)
        assert said.frames is not None
        best = said.logits.argmax(-1).cpu()
        rows = zip(best, said.frames.tolist(), strict=True)
        return [self.text_of(torch.unique_consecutive(row[:count]).numpy()) for row, count in rows]

    def _written(self, model: Any, batch: Batch, is_padded: bool) -> list[str]:
        """Return what the decoder writes, in the way that the checkpoint's `generation_config.json` says."""
        texts = [""] * len(batch[SIZES])
        for rows, given in _calls(self.features.name, batch, is_padded):
            tokens = model.generate(**given)
            for row, text in zip(
                rows.tolist(), self.tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True
            ):
                texts[row] = text
        return texts

    def _joined(self, tokens: list[int]) -> str:
        # A tokenizer for CTC would join repeated letters, which are parted by blanks.
        grouping = "group_tokens" in inspect.signature(type(self.tokenizer)._decode).parameters
        text: str = self.tokenizer.decode(tokens, **({"group_tokens": False} if grouping else {}))
        return text
