"""A network of `transformers` that transcribes speech, with a CTC head or a decoder, as its checkpoint has it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError, one_line
from modelmill.corpus import checkpoint
from modelmill.models.speech.listening import DECODER, Listener, say
from modelmill.models.speech.recogniser import alignment_loss
from modelmill.models.speech.recordings import IGNORED
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime import weights
from modelmill.runtime.sources import architecture
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained import heads
from modelmill.tasks.pretrained.task import PretrainedTask
from modelmill.tasks.speech_recognition.examples import Utterances
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser, Recipe

CTC = PretrainedRecogniser.heads[0]
VOCABULARY, _OF_MASKS = "vocab.json", "masked_spec_embed"
# Made-up recordings in seconds, whose frames are odd and even in number, and tokens that a decoder is given with each.
SECONDS, TOKENS = (0.93, 0.79, 0.61, 0.35, 0.17), 4


class PretrainedRecognition(PretrainedTask):
    """The loss is per token; see `modelmill.tasks.contract.Task`."""

    unit: Literal["tokens", "samples"] = "tokens"
    axes: tuple[str, ...] = ("batch",)

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take what a corpus says of the model; see `PretrainedTask`."""
        super().__init__(corpus, files, settings)
        self.head = corpus.info["head"]
        self.may_renew = corpus.info["vocabulary"] == "transcripts"
        self.language: str | None = corpus.info.get("language")
        self.input = self.listener.features.name

    @property
    def keeps_files(self) -> bool:
        """Return whether files that a stage does not train are handed on: not without the language that is written."""
        return super().keeps_files and self.language is None

    @cached_property
    def listener(self) -> Listener:
        """The checkpoint's feature extractor and tokenizer.

        Raises:
            UserError: transformers cannot load them here.
        """
        try:
            return Listener(self.checkpoint)
        except Exception as error:  # the library raises whatever its files make it stumble over
            raise UserError(
                f"{PROCESSOR}: its feature extractor or tokenizer does not load: {one_line(error)[:200]}; take "
                "another checkpoint"
            ) from error

    def overrides(self) -> dict[str, Any]:
        """Return the size of a new vocabulary, and the number of its padding, which is CTC's blank."""
        if not self.may_renew:
            return {}
        described = weights.read_config(self.checkpoint)
        return {key: described[key] for key in ("vocab_size", "pad_token_id")}

    def examples(self, stage: str, split: str) -> Utterances:
        """Return the examples of a split; see `Task.examples`."""
        return Utterances(self.files, split, self.listener.features, self.corpus.info)

    def build(self) -> nn.Module:
        """Return the network of the checkpoint's configuration with random weights."""
        return self._told(super().build())

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`."""
        return self._told(super().load(folder))

    def terms(self, batch: Batch) -> int:
        """Return the number of tokens that are learned."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        said = say(model, self.input, batch, self.way.padded)
        if said.frames is None:
            logits = said.logits.flatten(0, 1).float()
            return F.cross_entropy(logits, batch["labels"].flatten(), reduction="sum", label_smoothing=smoothing)
        lengths, blank = batch["label_lengths"], model.config.pad_token_id
        return alignment_loss(said.logits, said.frames, batch["labels"], lengths, blank, smoothing)

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of frames, or of a decoder's first token: (batch, frames or 1, vocabulary)."""
        start = self.corpus.info.get("start")
        asked = {} if start is None else {DECODER: torch.full((len(values), 1), start, device=values.device)}
        logits: torch.Tensor = model(**{self.input: values}, **asked).logits
        return logits

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return noise of several lengths, and for a decoder tokens; see `PretrainedTask.made_up`."""
        features, random = self.listener.features, np.random.default_rng(0)
        sounds = [(0.1 * random.standard_normal(round(one * features.rate))).astype(np.float32) for one in SECONDS]
        tokens = random.integers(0, len(self.listener.tokenizer), (len(sounds), TOKENS))
        asked = {} if self.head == CTC else {DECODER: torch.from_numpy(tokens)}

        def batch_of(rows: slice) -> Batch:
            batch = features.batch(sounds[rows]) | {name: one[rows] for name, one in asked.items()}
            return {name: one.to(model.device) for name, one in batch.items()}

        return batch_of(slice(None)), [batch_of(slice(row, row + 1)) for row in range(len(sounds))]

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each recording's frames or tokens; see `PretrainedTask.outputs`."""
        said = say(model, self.input, batch, is_padded=True)
        counts = said.frames.tolist() if said.frames is not None else [TOKENS] * len(said.logits)
        return [one[:count] for one, count in zip(said.logits, counts, strict=True)]

    def said(self, examples: Utterances) -> list[str]:
        """Return the transcripts of examples."""
        texts = (examples.transcript(number)[examples.prefix :] for number in range(len(examples)))
        return [self.listener.text_of(one) for one in texts]

    def heard(self, model: Any, examples: Utterances) -> list[str]:
        """Return what a network hears in examples."""
        numbers = np.argsort(examples.lengths, kind="stable").tolist()
        texts = self.listener.hear(model, (examples.sound(number) for number in numbers), self.way.padded)
        return [text for _, text in sorted(zip(numbers, texts, strict=True))]

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        checkpoint.place(self.files, folder)  # with its vocabulary the head is known for its own
        super().save(model, folder)

    def _loaded(self, folder: Path, device: torch.device) -> heads.Loaded:
        loaded = super()._loaded(folder, device)
        if not self.may_renew or _same(folder / VOCABULARY, self.checkpoint / VOCABULARY):
            return loaded
        names = [name for name, _ in loaded.model.named_parameters() if heads.is_of_head(loaded.model, name)]
        fresh = heads.build(self.checkpoint, self.head, None, self.key, **self.overrides())
        with torch.no_grad():
            for name in names:
                loaded.model.get_parameter(name).copy_(fresh.get_parameter(name))
        return loaded._replace(is_head_kept=False, new=sorted({*loaded.new, *names}))

    def _told(self, model: Any) -> nn.Module:
        """Return a model set up for fine-tuning, and told, where it is Whisper, how to write.

        Layers are not skipped at random, and what stands for masked frames stays: each step uses all other weights, as
        processes that train together must.
        """
        told: nn.Module = model
        for one in (*model.modules(), model.config):
            if isinstance(getattr(one, "layerdrop", None), float):
                one.layerdrop = 0.0
        for name, parameter in model.named_parameters():
            if name.endswith(_OF_MASKS):
                parameter.requires_grad_(False)
        if model.config.model_type == "whisper":
            _tell(model.generation_config, self.listener.tokenizer.get_vocab(), self.language)
        return told


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return the way in which a checkpoint would be fed; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    if not isinstance(recipe.model, PretrainedRecogniser):
        return {}
    kind = weights.read_config(folder).get("model_type")
    head = next((one for one in recipe.model.heads if kind in architecture.with_head(one)), CTC)
    info = {"model": AUTO, "head": head, "vocabulary": "transcripts" if head == CTC else "checkpoint", "prefix": 0}
    files = {f"{checkpoint.FOLDER}/{file.name}": file for file in weights.describing_files(folder)}
    task = PretrainedRecognition(Manifest(kind="corpus", info=info), files, recipe.model)
    task.load(folder)
    return task.notes


def _tell(generation: Any, tokens: dict[str, int], language: str | None) -> None:
    """Set how Whisper is asked, in place.

    Args:
        generation: The model's generation settings, which may be older than their names.
        tokens: Numbers of the tokenizer's tokens.
        language: Code of the language; None for a checkpoint of one language.
    """
    generation.return_timestamps, generation.forced_decoder_ids = False, None
    generation._from_model_config = False  # else some names are not read again
    if (times := tokens.get("<|notimestamps|>")) is not None:
        generation.no_timestamps_token_id = times
    generation.is_multilingual = language is not None
    if language is not None:
        tasks = {name: tokens[f"<|{name}|>"] for name in ("transcribe", "translate") if f"<|{name}|>" in tokens}
        code = f"<|{language}|>"
        generation.lang_to_id = {**(getattr(generation, "lang_to_id", None) or {}), code: tokens[code]}
        generation.task_to_id = tasks
        generation.language, generation.task = code, "transcribe"


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
