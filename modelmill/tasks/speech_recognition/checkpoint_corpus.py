"""Preprocessing for a checkpoint: recordings at the rate that it hears, transcripts in its tokens, one at a time."""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, corpora, in_memory, media
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.settings import ONLY
from modelmill.corpus.speech import processor
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime.sources import architecture
from modelmill.runtime.step_runtime import Made, Step
from modelmill.runtime.weights import CONFIG
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_recognition import spelling
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser, RecognitionPreprocessing
from modelmill.tasks.speech_recognition.spelling import Spelling

log = logging.getLogger("modelmill")


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
    hearing = _hearing(given, settings)
    rows = _rows(step, validated, settings)
    training = [t for t, s in zip(rows.columns[settings.transcript], rows.splits, strict=True) if s == "train"]
    spelled = spelling.spelling(given.folder, given.config, given.head, settings, training)
    if why := spelled.info.get("why_new"):
        log.warning("preprocessing.vocabulary: %s: a new vocabulary is made of the transcripts, with a new head", why)
    _rewrite(given.folder, spelled)
    with ShardedWriter(step.scratch) as writer:
        dropped = _write(step, rows, spelled, hearing, writer)
    for split in SPLITS:
        corpora.require(writer.counts[f"{split}/{ONLY}"], "recording", ONLY, split, rows, None, settings)
    return _made(step, writer, given, spelled, hearing, dropped)


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


def _hearing(given: Checkpoint, settings: RecognitionPreprocessing) -> processor.Hearing:
    """Return what the checkpoint hears.

    Raises:
        UserError: The recipe has another rate, or longer recordings than it takes.
    """
    hearing = processor.hearing(PROCESSOR, given.folder)
    if settings.sample_rate != hearing.rate:
        raise UserError(
            f"preprocessing.sample_rate: {settings.sample_rate} Hz, but {given.config.model_type} hears {hearing.rate} "
            f"Hz; set it to {hearing.rate}, and recordings of other rates are resampled"
        )
    if hearing.seconds is not None and settings.max_seconds > hearing.seconds:
        raise UserError(
            f"preprocessing.max_seconds: {settings.max_seconds:g}, but {given.config.model_type} hears "
            f"{hearing.seconds:g} s at most; set it to that or less"
        )
    return hearing


def _rows(step: Step, validated: list[tuple[Shard, str]], settings: RecognitionPreprocessing) -> AllRows:
    chosen = settings.fine_tune_on
    columns = {"preprocessing.transcript": settings.transcript}
    columns |= {"preprocessing.fine_tune_on.column": chosen.column} if chosen else {}
    rows = in_memory.read(step, validated, columns)
    if chosen is None:
        return rows
    members = corpora.members(rows, chosen)[corpora.FINE_TUNING]
    for split in SPLITS:
        count = int((members & (rows.splits == split)).sum())
        corpora.require(count, "recording", corpora.FINE_TUNING, split, rows, chosen, settings)
    return in_memory.chosen(rows, members)


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


def _write(step: Step, rows: AllRows, spelled: Spelling, hearing: processor.Hearing, writer: ShardedWriter) -> int:
    """Write all recordings that can be learned from, and return how many were left out.

    Raises:
        UserError: A recording cannot be learned from, and the recipe refuses such.
    """
    settings = step.recipe.preprocessing
    assert isinstance(settings, RecognitionPreprocessing)
    texts = [spelled.tidied(text) for text in rows.columns[settings.transcript]]
    rates: set[int] = set()
    sounds = media.recordings(rows.files, hearing.rate, settings.resample, rates)
    dropped = 0
    for number, (file, text, sound) in enumerate(zip(rows.files, texts, sounds, strict=True)):
        step.progress(number, len(texts), "recordings")
        seconds = len(sound) / hearing.rate
        why = "its transcript is empty" if not text else spelled.unusable(text, seconds)
        if seconds > settings.max_seconds:
            why = f"it lasts {seconds:.1f} s, more than preprocessing.max_seconds ({settings.max_seconds:g} s)"
        if why and settings.unusable == "refuse":
            raise UserError(
                f"preprocessing.unusable: {file.shard.path}: {file.name}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
        if why:
            dropped += 1
            continue
        pcm = (sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
        split = f"{rows.splits[number]}/{ONLY}"
        writer.add(split, int(rows.ids[number]), {"samples": pcm, "labels": spelled.numbers(text)})
    if others := sorted(rates - {hearing.rate}):
        said = ", ".join(str(rate) for rate in others)
        log.warning("recordings at %s Hz are resampled to the %s Hz that the checkpoint hears", said, hearing.rate)
    return dropped


def _made(
    step: Step, writer: ShardedWriter, given: Checkpoint, spelled: Spelling, hearing: processor.Hearing, dropped: int
) -> Made:
    """Return the corpus as preprocessing's output."""
    entries = [manifest.add_bytes(step.store, data, name) for name, data in checkpoint.files(given.folder).items()]
    entries += [manifest.add_file(step.store, file, name) for name, file in writer.files().items()]
    counts = {split: writer.counts[f"{split}/{ONLY}"] for split in SPLITS}
    info = {
        "task": step.recipe.task,
        "model": step.recipe.model.type,  # type: ignore[union-attr]
        "head": given.head,
        "sample_rate": hearing.rate,
        "splits": {split: {"examples": count} for split, count in counts.items()},
        "corpora": {ONLY: counts},
        "held_out": step.recipe.preprocessing.held_out,
        **spelled.info,
    }
    return Made(
        outputs={"corpus": Manifest(kind="corpus", entries=entries, made_from=step.digests, info=info)},
        headline=", ".join(f"{count:,} {split}" for split, count in counts.items())
        + (f"; {dropped:,} left out" if dropped else ""),
        metrics={f"{split}_examples": count for split, count in counts.items()} | {"left_out_recordings": dropped},
    )
