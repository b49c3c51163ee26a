"""Preprocessing for a checkpoint: recordings at the rate that it hears, transcripts in its tokens, shard by shard."""

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, corpora, in_memory, media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Noted, Piece, ShardRows
from modelmill.corpus.settings import ONLY
from modelmill.corpus.shard_cache import Encoded
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime.sources import architecture
from modelmill.runtime.step_runtime import Made, Step
from modelmill.runtime.weights import CONFIG
from modelmill.tasks.speech_recognition import asking, spelling
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser, RecognitionPreprocessing
from modelmill.tasks.speech_recognition.spelling import Spelling

log = logging.getLogger("modelmill")
# Counts that are named after the sample rates of a shard's recordings.
_RATES = "rates"


class Checkpoint(NamedTuple):
    """What a checkpoint's files say.

    Attributes:
        folder: Its folder.
        config: Its configuration, as `AutoConfig` reads it.
        head: The class of `transformers` that loads it.
    """

    folder: Path
    config: Any
    head: str


def preprocess(step: Step, validated: list[tuple[Shard, str]]) -> Made:
    """Return the corpus of recordings and transcripts.

    Each split has `samples` (int16) and `labels` (uint32, tokens) of each recording, in the files that
    `example_shards` describes, and the corpus has the checkpoint's files but its weights. Rows for pretraining, where
    the recipe tells two kinds apart, are left out: a checkpoint was trained on others.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, the checkpoint's processor or tokenizer cannot be used, or a row cannot
            be learned from where the recipe refuses that.
    """
    settings = step.recipe.preprocessing
    assert isinstance(settings, RecognitionPreprocessing)
    given = the_checkpoint(step, settings)
    hearing = asking.hearing(given.folder, given.config.model_type, settings.sample_rate, settings.max_seconds)
    noted, rows = _rows(step, validated, settings)
    training = noted.notes["words"].tobytes().decode().splitlines()
    spelled = spelling.spelling(given.folder, given.config, given.head, settings, training)
    if why := spelled.info.get("why_new"):
        log.warning("preprocessing.vocabulary: %s: a new vocabulary is made of the transcripts, with a new head", why)
    _rewrite(given.folder, spelled)
    described_by = checkpoint.files(given.folder)
    fitted = digest.of_json([spelled.info, {name: digest.of_bytes(data) for name, data in described_by.items()}])
    work = partial(_encode, settings=settings, spelled=spelled, rate=hearing.rate)
    encoded, new = streaming.encode(step, validated, rows, work, fitted)
    _say_rates(encoded, hearing.rate)
    counts = {split: streaming.count(encoded, f"{split}/{ONLY}", "examples") for split in SPLITS}
    for split, count in counts.items():
        corpora.require(count, "recording", ONLY, split, noted.rows, None, settings)
    info = {"model": AUTO, "head": given.head, "sample_rate": hearing.rate, "corpora": {ONLY: counts}, **spelled.info}
    made = streaming.corpus(step, encoded, info, described_by, folder=ONLY)
    dropped = streaming.count(encoded, "all", "left_out")
    return replace(
        made,
        headline=made.headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics={**made.metrics, "left_out_recordings": dropped, "new_shards": new},
    )


def the_checkpoint(step: Step, settings: RecognitionPreprocessing) -> Checkpoint:
    """Return the checkpoint that the recipe names.

    Raises:
        UserError: transformers has it with neither of the heads that transcribe.
    """
    assert settings.processor.source is not None
    folder = checkpoint.the_checkpoint(step, PROCESSOR, settings.processor.source)
    return described(folder)


def described(folder: Path) -> Checkpoint:
    """Return what the files of a checkpoint say.

    Raises:
        UserError: transformers has it with neither of the heads that transcribe.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for head in PretrainedRecogniser.heads:
        if config.model_type in architecture.with_head(head):
            return Checkpoint(folder, config, head)
    raise UserError(
        f"{PROCESSOR}: {folder}: its model_type is {config.model_type!r}, which transformers has neither with a CTC "
        "head nor as a decoder of speech; take the checkpoint of a speech recogniser, such as wav2vec2 or Whisper"
    )


def _rows(
    step: Step, validated: list[tuple[Shard, str]], settings: RecognitionPreprocessing
) -> tuple[Noted, list[ShardRows]]:
    """Return what is known of all rows, and those of each shard that are fine-tuned on."""
    chosen = settings.fine_tune_on
    columns = {"preprocessing.transcript": settings.transcript}
    columns |= {"preprocessing.fine_tune_on.column": chosen.column} if chosen else {}
    named = [chosen.column] if chosen else []
    noted = row_notes.note(step, validated, columns, named, partial(_look, settings=settings))
    if chosen is None:
        return noted, noted.shards
    members = corpora.members(noted.rows, chosen)[corpora.FINE_TUNING]
    for split in SPLITS:
        count = int((members & (noted.rows.splits == split)).sum())
        corpora.require(count, "recording", corpora.FINE_TUNING, split, noted.rows, chosen, settings)
    return noted, noted.where(in_memory.chosen(noted.rows, members))


def _look(piece: Piece, settings: RecognitionPreprocessing) -> dict[str, np.ndarray]:
    """Note the words of transcripts that are trained on, each once and on a line of its own."""
    texts = piece.values(settings.transcript)
    names = corpora.names(piece.values, settings.fine_tune_on, len(texts))
    words: set[str] = set()
    for text, split, name in zip(texts, piece.splits, names, strict=True):
        if split == "train" and name != corpora.PRETRAINING:
            words.update(str(text).split())
    return {"words": np.frombuffer("".join(f"{word}\n" for word in sorted(words)).encode(), np.uint8)}


def _rewrite(folder: Path, spelled: Spelling) -> None:
    """Replace the tokenizer of a folder by a new one, if there is one."""
    if not spelled.files:
        return
    for name in ("tokenizer.json", "special_tokens_map.json", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)
    for name, content in spelled.files.items():
        (folder / name).write_bytes(content)
    config = json.loads((folder / CONFIG).read_text("utf-8")) | spelled.changes
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _encode(
    piece: Piece, writer: ShardedWriter, *, settings: RecognitionPreprocessing, spelled: Spelling, rate: int
) -> dict[str, dict[str, int]]:
    """Write recordings and the tokens of their transcripts; return how many rows are left out, and of which rates.

    Raises:
        UserError: A recording cannot be learned from, and the recipe refuses such.
    """
    texts = [spelled.tidied(text) for text in piece.values(settings.transcript)]
    rates: set[int] = set()
    sounds = media.recordings(piece.files, rate, settings.resample, rates)
    left_out = 0
    for place, (file, text, sound) in enumerate(zip(piece.files, texts, sounds, strict=True)):
        why = _unusable(text, len(sound) / rate, settings, spelled)
        if why and settings.unusable == "refuse":
            raise UserError(
                f"preprocessing.unusable: {file.shard.path}: {file.name}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
        if why:
            left_out += 1
            continue
        pcm = (sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
        values = {"samples": pcm, "labels": spelled.numbers(text)}
        writer.add(f"{piece.splits[place]}/{ONLY}", piece.ids[place], values)
    return {"all": {"left_out": left_out}, _RATES: {str(one): 1 for one in rates}}


def _unusable(text: str, seconds: float, settings: RecognitionPreprocessing, spelled: Spelling) -> str:
    """Return why a row cannot be learned from, or an empty text."""
    if seconds > settings.max_seconds:
        return f"it lasts {seconds:.1f} s, more than preprocessing.max_seconds ({settings.max_seconds:g} s)"
    return spelled.unusable(text, seconds) if text else "its transcript is empty"


def _say_rates(encoded: list[Encoded], heard: int) -> None:
    """Say once which recordings were resampled."""
    rates = {int(rate) for one in encoded for rate in one.counts.get(_RATES, {})}
    if others := sorted(rates - {heard}):
        said = ", ".join(str(rate) for rate in others)
        log.warning("recordings at %s Hz are resampled to the %s Hz that the checkpoint hears", said, heard)
