"""Speech checkpoints: their tokens, losses and transcripts are those of transformers, a recording at a time."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.corpus.speech import processor
from modelmill.models import torch_attention
from modelmill.tasks.contract import RunFacts
from modelmill.tasks.speech_recognition.cost import cost
from modelmill.tasks.speech_recognition.pretrained import PretrainedRecognition, check_model
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser
from modelmill.training.loop import probe
from tests.pretrained import speech as speech_checkpoints
from tests.pretrained.speech import FAMILIES, RATE, SPLIT, settings, spelled, task_over


def theirs(folder: Path, task: PretrainedRecognition) -> Any:
    kind = AutoModelForCTC if task.head.endswith("CTC") else AutoModelForSpeechSeq2Seq
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


def their_loss(model: Any, folder: Path, task: PretrainedRecognition) -> float:
    """The sum over recordings of transformers' own loss of each alone."""
    extractor, examples = AutoFeatureExtractor.from_pretrained(folder), task.examples("fine_tuning", SPLIT)
    total = 0.0
    model.config.ctc_loss_reduction = "sum"
    for number in range(len(examples)):
        given = extractor(examples.sound(number), sampling_rate=RATE, return_tensors="pt")
        labels = torch.from_numpy(examples.transcript(number).astype(np.int64))[None]
        labels[:, : examples.prefix] = -100
        if examples.prefix:  # else they would be filled up with padding
            start = task.corpus.info["start"]
            shifted = [start, *examples.transcript(number)[:-1].tolist()]
            given["decoder_input_ids"] = torch.tensor([shifted])
        loss = model(**given, labels=labels).loss.item()
        total += loss * (1 if task.head.endswith("CTC") else int((labels != -100).sum()))
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_loss_that_transformers_gives_each_recording_alone(family: str, tmp_path: Path) -> None:
    folder = speech_checkpoints.write(family, tmp_path / family)
    changes = {"language": "de"} if family == "whisper" else {}
    task = task_over(folder, **changes)
    model: Any = task.load(folder)
    batch = task.examples("fine_tuning", SPLIT).batch(np.arange(3))
    loss = task.loss(model.eval(), batch)
    assert loss.item() == pytest.approx(their_loss(theirs(folder, task), folder, task), rel=1e-4)
    assert task.notes["head"] == "the checkpoint's"
    before = torch.get_rng_state()
    losses = []
    for _ in range(2):
        torch.set_rng_state(before)
        np.random.seed(len(losses))
        losses.append(task.loss(model.train(), batch))
    assert losses[0].item() == losses[1].item(), "a step's draws depend on PyTorch's generator alone"
    losses[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert task.blocks(model)


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-bert", "whisper", "moonshine"])
def test_what_is_heard_is_what_transformers_hears_of_each_recording_alone(family: str, tmp_path: Path) -> None:
    folder = speech_checkpoints.write(family, tmp_path / family)
    task = task_over(folder, **({"language": "de"} if family == "whisper" else {}))
    model, examples = task.load(folder).eval(), task.examples("fine_tuning", SPLIT)
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    for number in range(len(examples)):
        given = extractor(examples.sound(number), sampling_rate=RATE, return_tensors="pt")
        other = theirs(folder, task)
        if task.head.endswith("CTC"):
            expected.append(tokenizer.decode(other(**given).logits[0].argmax(-1)))
            continue
        if family == "whisper":
            tokens = tokenizer.get_vocab()
            codes = {f"<|{one}|>": tokens[f"<|{one}|>"] for one in ("en", "de")}
            other.generation_config.lang_to_id = codes
            other.generation_config.task_to_id = {"transcribe": tokens["<|transcribe|>"]}
            other.generation_config.is_multilingual = True
            other.generation_config.no_timestamps_token_id = tokens["<|notimestamps|>"]
            given |= {"language": "de", "task": "transcribe"}
        expected.append(tokenizer.batch_decode(other.generate(**given), skip_special_tokens=True)[0])
    heard = task.heard(model, examples)
    plain = [re.sub("<[^>]+>", "", text) for text in expected]  # a tokenizer for CTC shows special tokens
    assert heard == [" ".join(text.split()) for text in plain] and len(set(heard)) > 1


def test_the_group_normalisation_of_base_models_hears_one_length_at_a_time(tmp_path: Path) -> None:
    folder = speech_checkpoints.write(
        "wav2vec2", tmp_path / "base", feat_extract_norm="group", do_stable_layer_norm=False
    )
    task = task_over(folder)
    model = task.load(folder).eval()
    assert not task.way.padded and "equal length" in task.notes["way"]
    batch = task.examples("fine_tuning", SPLIT).batch(np.arange(3))
    assert task.loss(model, batch).item() == pytest.approx(their_loss(theirs(folder, task), folder, task), rel=1e-4)


def test_letters_that_the_head_lacks_make_a_new_vocabulary_and_a_new_head(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("wav2vec2", tmp_path / "base")
    kept, new = spelled(folder, "a bad cab"), spelled(folder, "a fig")
    assert kept.info["vocabulary"] == "checkpoint" and kept.tidied(" a  bad") == "A BAD"
    assert kept.unusable("FIG", 9.0).startswith("its transcript has 'F', which is not in the vocabulary")
    assert new.info["vocabulary"] == "transcripts" and "lacks 'F', 'G', 'I'" in new.info["why_new"]
    assert list(json.loads(new.files["vocab.json"])) == ["<pad>", "<unk>", "|", *"afgi"]
    assert new.changes["vocab_size"] == 7 and new.numbers("a f").tolist() == [3, 2, 4]
    assert spelled(folder, "a fig", vocabulary="checkpoint").info["vocabulary"] == "checkpoint"
    with pytest.raises(UserError, match=r"'\|' is in the transcripts, and stands for a space"):
        spelled(folder, "a|fig")


def test_a_new_head_is_kept_from_stage_to_stage(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("wav2vec2", tmp_path / "base")
    task = task_over(folder, vocabulary="transcripts", alphabet="abcd efgh")
    torch.manual_seed(1)
    model: Any = task.load(folder)
    assert task.notes["head"] == "new" and task.whole(model) == ["lm_head"]
    saved = tmp_path / "saved"
    saved.mkdir()
    task.save(model, saved)
    assert (saved / "vocab.json").read_bytes() == (task.checkpoint / "vocab.json").read_bytes()
    torch.manual_seed(2)
    again: Any = task.load(saved)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight) and task.notes["head"] == "the checkpoint's"
    assert AutoModelForCTC.from_pretrained(saved).config.vocab_size == len(AutoTokenizer.from_pretrained(saved))


def test_a_new_head_of_the_old_ones_size_is_new(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("hubert", tmp_path / "base")
    task = task_over(folder, vocabulary="transcripts", alphabet="abcdefg")
    assert task.overrides()["vocab_size"] == len(speech_checkpoints.LETTERS)
    model: Any = task.load(folder)
    assert task.notes["head"] == "new"
    assert not torch.equal(model.lm_head.weight, AutoModelForCTC.from_pretrained(folder).lm_head.weight)


def test_double_letters_survive_decoding(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("wav2vec2", tmp_path / "base")
    task = task_over(folder)
    number = speech_checkpoints.LETTERS
    symbols = np.array([number[one] for one in ("A", "A", "<pad>", "A", "|", "B", "<pad>")])
    collapsed = torch.unique_consecutive(torch.from_numpy(symbols)).numpy()
    assert task.listener.text_of(collapsed) == "AA B" == AutoTokenizer.from_pretrained(folder).decode(symbols)


def test_whisper_writes_the_language_of_the_recipe_and_no_times(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("whisper", tmp_path / "whisper")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = spelled(folder, "ab", language="german")
    names = tokenizer.convert_ids_to_tokens(made.numbers("ab").tolist())
    assert names == ["<|de|>", "<|transcribe|>", "<|notimestamps|>", "Ġ", "a", "b", "<|endoftext|>"]
    assert made.info["prefix"] == 3 and made.info["language"] == "de"
    task = task_over(folder, language="de")
    model: Any = task.load(folder)
    asked = model._retrieve_init_tokens(None, 1, model.generation_config, model.config, 3000, {})
    assert tokenizer.convert_ids_to_tokens(asked[0].tolist()) == ["<|startoftranscript|>", *names[:3]]
    saved = tmp_path / "saved"
    saved.mkdir()
    task.save(model, saved)
    said = json.loads((saved / "generation_config.json").read_text())
    assert said["language"] == "<|de|>" and said["task"] == "transcribe" and said["return_timestamps"] is False


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("whisper", {}, "preprocessing.language: .*: name the language of the transcripts, one of en, de, fr"),
        ("whisper", {"language": "swahili"}, "its tokenizer does not know 'swahili'; it knows en, de, fr"),
        (
            "whisper",
            {"language": "de", "alphabet": "ab"},
            "preprocessing.alphabet: .*: whisper writes tokens of its own",
        ),
        ("moonshine", {"language": "de"}, "moonshine has no tokens of languages"),
        ("wav2vec2", {"language": "de"}, "wav2vec2 has no tokens of languages"),
    ],
)
def test_what_a_tokenizer_does_not_know_is_one_line(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = speech_checkpoints.write(family, tmp_path / family)
    with pytest.raises(UserError, match=message) as raised:
        spelled(folder, **changes)
    assert "\n" not in str(raised.value)


def test_rows_that_a_checkpoint_cannot_learn_say_why(tmp_path: Path) -> None:
    letters = spelled(speech_checkpoints.write("wav2vec2", tmp_path / "wav2vec2"))
    assert "too short for the 5 tokens" in letters.unusable("ABBBC", 0.14)
    assert not letters.unusable("ABBBC", 0.17)
    written = spelled(speech_checkpoints.write("whisper", tmp_path / "whisper"), language="en")
    assert "has 25 tokens, more than the 24 that the decoder writes" in written.unusable("a" * 20, 1.0)


def test_a_processor_that_is_missing_or_of_another_kind_is_one_line(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("whisper", tmp_path / "whisper")
    assert processor.hearing("k", folder) == (RATE, 2.0)
    (folder / "preprocessor_config.json").rename(folder / "processor_config.json")
    said = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": said}))
    assert processor.hearing("k", folder) == (RATE, 2.0)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    with pytest.raises(UserError, match="is of ViTImageProcessor, which prepares images"):
        processor.hearing("k", folder)
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match="names no sampling_rate"):
        processor.hearing("k", folder)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"k: .*: no preprocessor_config.json in it"):
        processor.hearing("k", folder)


def test_a_processor_of_another_checkpoint_is_refused_before_training(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("whisper", tmp_path / "whisper")
    from transformers import WhisperFeatureExtractor

    WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)
    with pytest.raises(UserError, match="WhisperForConditionalGeneration cannot be called"):
        task_over(folder, language="de").load(folder)


def test_check_model_says_how_a_checkpoint_is_fed(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("hubert", tmp_path / "hubert")
    notes = check_model(folder, SimpleNamespace(model=PretrainedRecogniser()))  # type: ignore[arg-type]
    assert notes["way"].startswith("padded batches")


def test_tokens_are_made_without_torch(tmp_path: Path) -> None:
    """As in the image of preprocessing, which has transformers alone."""
    folders = [speech_checkpoints.write(family, tmp_path / family) for family in ("wav2vec2", "whisper", "moonshine")]
    script = """if True:
        import sys
        sys.modules["torch"] = None
        from pathlib import Path
        from modelmill.tasks.speech_recognition import checkpoint_corpus, spelling
        from modelmill.tasks.speech_recognition.recipe import RecognitionPreprocessing
        for folder in map(Path, sys.argv[1:]):
            given = checkpoint_corpus.described(folder)
            settings = RecognitionPreprocessing(lowercase=False, language="de" if folder.name == "whisper" else None)
            made = spelling.spelling(folder, given.config, given.head, settings, ["ab"])
            print(given.head, *made.numbers(made.tidied("ab")).tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, folders)], capture_output=True, text=True, check=True
    )
    for line, folder in zip(done.stdout.splitlines(), folders, strict=True):
        changes = {"language": "de"} if folder.name == "whisper" else {}
        made = spelled(folder, "ab", **changes)
        assert line.split()[1:] == [str(one) for one in made.numbers(made.tidied("ab"))]


def test_a_whisper_costs_what_is_counted(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("whisper", tmp_path / "whisper")
    task = task_over(folder, language="de")
    model = task.load(folder).train()
    examples = task.examples("fine_tuning", SPLIT)
    batch = examples.batch(np.arange(1))
    with torch_attention.as_one():
        flops = probe.measure(lambda: task.loss(model, batch), []).flops
    tokens = batch["labels"].shape[1]
    rows = {"ids": 1, "samples": examples.lengths[0], "labels": tokens}
    known = RunFacts(
        task.corpus.info,
        {f"train/only/00000.00000.{name}.npy": count for name, count in rows.items()},
        weights=json.loads((folder / "config.json").read_text()),
    )
    recipe: Any = SimpleNamespace(model=PretrainedRecogniser(), preprocessing=settings(), fine_tuning=None)
    found = cost(recipe, "pretraining", known)
    assert found is not None and found.parameters == sum(one.numel() for one in model.parameters())
    assert found.flops == pytest.approx(flops, rel=0.05) and found.terms == task.terms(batch)
    recipe.fine_tuning = SimpleNamespace(adapted=True, frozen_layers=0)
    assert cost(recipe, "fine_tuning", known) is None
