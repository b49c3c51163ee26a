"""Translators of many families, held against what transformers computes and writes, a pair at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modelmill.components.fine_tuning import lora
from modelmill.core.errors import UserError
from modelmill.models import torch_attention
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.store import Store
from modelmill.tasks.contract import RunFacts
from modelmill.tasks.translation import generating
from modelmill.tasks.translation.cost import cost
from modelmill.tasks.translation.decoding import write
from modelmill.tasks.translation.framing import Framing
from modelmill.tasks.translation.recipe import Recipe, TranslationPreprocessing
from modelmill.tasks.translation.sides import Encoder, Side
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop import journal, probe
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import train
from tests.pretrained import seq2seq

TEXTS = ["a word", "two words, or more.", "слово", "it's a </s> <pad> <s>", "  spaces  are   many ", "x", "naïve ☃"]
LENGTHS = [(5, 9), (12, 3), (3, 17), (9, 9)]


def settings(family: str, **more: Any) -> TranslationPreprocessing:
    codes = {"languages": seq2seq.CODES[family]} if family in seq2seq.CODES else {}
    return TranslationPreprocessing.model_validate({"sequence_length": 24, **codes, **more})


def _ids(side: Side, count: int, random: np.random.Generator) -> list[int]:
    return [*side.before, *random.integers(8, 60, count).tolist(), *side.after]


@pytest.mark.parametrize("family", seq2seq.CHECKPOINTS)
def test_each_family_learns_and_writes_as_transformers_has_it(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    folder = seq2seq.write(family, tmp_path / "checkpoint")
    sides = Framing(folder, settings(family)).sides()
    random = np.random.default_rng(0)
    pairs = [(_ids(sides.source, read, random), _ids(sides.target, written, random)) for read, written in LENGTHS]
    task = seq2seq.corpus(tmp_path, folder, sides, pairs)
    model = task.load(folder).eval()
    examples = task.examples("fine_tuning", "train")
    batch = examples.batch(np.arange(len(examples)))
    # Each pair by itself, with the labels that its tokenizer's users give to transformers.
    theirs = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    total = 0.0
    for source, target in pairs:
        loss = theirs(input_ids=torch.tensor([source]), labels=torch.tensor([target])).loss
        total += loss.item() * len(target)
    assert task.loss(model, batch).item() == pytest.approx(total, rel=1e-5)
    assert task.terms(batch) == sum(len(target) for _, target in pairs)
    # The first of a text's own tokens, after what begins it.
    first = task.written(model, batch)[:, len(sides.target.before)]
    assert torch.allclose(task.logits(model, batch["input_ids"]), first, atol=1e-4)
    # What was saved writes what transformers writes of it.
    saved = tmp_path / "saved"
    saved.mkdir()
    task.save(model, saved)
    again = AutoModelForSeq2SeqLM.from_pretrained(saved).eval()
    decoder = task.decoder()
    together = write(model, decoder, batch["input_ids"], batch["attention_mask"])
    theirs = again.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    begins = generating.opening(model, task.start, sides)
    for text, ids in zip(together, theirs.tolist(), strict=True):
        assert decoder.text(ids) == text and ids[:1] == begins[:1]
        if sides.language is not None:
            assert sides.language in ids[:2] and ids[: len(begins)] == begins


@pytest.mark.parametrize("family", ["bart", "m2m_100", "mbart", "mbart50", "nllb", "pegasus", "t5"])
def test_texts_are_read_as_the_checkpoints_own_tokenizer_reads_them(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = seq2seq.write(family, tmp_path / "checkpoint")
    framing = Framing(folder, settings(family))
    sides = framing.sides()
    theirs = AutoTokenizer.from_pretrained(folder)
    if family in seq2seq.CODES and family != "m2m_100":
        theirs.src_lang, theirs.tgt_lang = seq2seq.CODES[family]["source"], seq2seq.CODES[family]["target"]
    for text in TEXTS:
        read, written = (Encoder(folder, side).ids([text])[0] for side in sides[:2])
        expected = theirs(text, split_special_tokens=True)["input_ids"]
        assert read == expected
        if family == "m2m_100":  # transformers knows of no languages in a bare tokenizer.json
            expected = [theirs.convert_tokens_to_ids("__uk__"), *expected[1:]]
            assert written == expected
        else:
            assert written == theirs(text_target=text, split_special_tokens=True)["input_ids"]
    framing.require_alike(Encoder(folder, sides.source), TEXTS)


def test_a_prefix_is_read_before_each_text_and_written_before_none(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = seq2seq.write("t5", tmp_path / "checkpoint")
    sides = Framing(folder, settings("t5", prefix="translate: ")).sides()
    theirs = AutoTokenizer.from_pretrained(folder)
    assert Encoder(folder, sides.source).ids(["a word"]) == [theirs("translate: a word")["input_ids"]]
    assert Encoder(folder, sides.target).ids(["a word"]) == [theirs("a word")["input_ids"]]


def test_a_text_that_is_too_long_keeps_what_is_around_it(tmp_path: Path) -> None:
    folder = seq2seq.write("nllb", tmp_path / "checkpoint")
    sides = Framing(folder, settings("nllb")).sides()
    whole, cut = (Encoder(folder, sides.source).cut("a long text", length) for length in (24, 6))
    assert len(cut) == 6 and cut[:5] == whole[:5] and cut[-1] == whole[-1] and len(whole) > 6


@pytest.mark.parametrize(
    ("family", "codes", "message"),
    [
        (
            "nllb",
            {"source": "eng_Latn", "target": "urk_Cyrl"},
            "languages.target: .* no token for the language 'urk_Cyrl'; ",
        ),
        ("nllb", {"source": "eng_Latn"}, "languages.target: .* has a token for each language; name one of ace_Arab, "),
        ("mbart", {"target": "ro_RO"}, "languages.source: .* name one of ar_AR, "),
        (
            "marian",
            {"source": "eng", "target": "ukr"},
            "languages.source: .* no token for the language 'eng'; leave it out",
        ),
        (
            "t5",
            {"source": "en", "target": "uk"},
            "has no tokens for languages; leave the key out, .* preprocessing.prefix",
        ),
    ],
)
def test_a_language_that_the_tokenizer_does_not_know_is_refused(
    family: str, codes: dict[str, str], message: str, tmp_path: Path
) -> None:
    folder = seq2seq.write(family, tmp_path / "checkpoint")
    wanted = TranslationPreprocessing.model_validate({"languages": codes})
    with pytest.raises(UserError, match=message) as raised:
        wanted.require_tokenizer(folder)
    assert "\n" not in str(raised.value)


def test_a_language_after_the_text_is_refused_where_the_decoder_would_not_see_it(tmp_path: Path) -> None:
    folder = seq2seq.write("nllb", tmp_path / "checkpoint")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"legacy_behaviour": True}))
    sides = Framing(folder, settings("nllb")).sides()
    with pytest.raises(UserError, match="set legacy_behaviour to false"):
        seq2seq.corpus(tmp_path, folder, sides, [([5, 2], [6, 2])]).load(folder)


def test_networks_whose_loss_has_other_parts_are_refused(tmp_path: Path) -> None:
    from transformers import ProphetNetConfig, ProphetNetForConditionalGeneration

    folder = seq2seq.write("t5", tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    halves = {f"{half}_ffn_dim": 16 for half in ("encoder", "decoder")}
    halves |= {f"num_{half}_{name}": 2 for half in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "decoder_start_token_id": 0}
    config = ProphetNetConfig(vocab_size=200, hidden_size=16, max_position_embeddings=64, **halves, **ends)
    ProphetNetForConditionalGeneration(config).save_pretrained(folder)
    task = seq2seq.corpus(tmp_path, folder, seq2seq.plain_sides(folder), [([5, 1], [6, 1])])
    with pytest.raises(UserError, match=r"the loss of ProphetNetForConditionalGeneration is .* and not that of each"):
        task.load(folder)


def test_positions_that_are_missing_are_one_line(tmp_path: Path) -> None:
    folder = seq2seq.write("bart", tmp_path / "checkpoint")
    task = seq2seq.corpus(tmp_path, folder, seq2seq.plain_sides(folder, length=80), [([5, 2], [6, 2])])
    with pytest.raises(UserError, match="it was made for 64 positions; set"):
        task.load(folder)


def test_batches_without_padding_give_the_same_losses(tmp_path: Path) -> None:
    folder = seq2seq.write("t5", tmp_path / "checkpoint")
    pairs = [([10 + n] * read + [1], [20 + n] * written + [1]) for n, (read, written) in enumerate(LENGTHS)]
    task = seq2seq.corpus(tmp_path, folder, seq2seq.plain_sides(folder), pairs)
    model = task.load(folder).eval()
    batch = task.examples("fine_tuning", "train").batch(np.arange(len(pairs)))
    padded = task.loss(model, batch)
    task.way = task.way._replace(padded=False)
    assert torch.allclose(task.loss(model, batch), padded, rtol=1e-5)
    logits, labels = task.written(model, batch), batch["labels"]
    assert logits.shape[:2] == labels.shape
    assert torch.allclose(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"), padded, rtol=1e-5)


def test_a_training_cut_in_two_ends_with_the_same_bits(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0)  # each step is progress
    folder, scratch = seq2seq.write("t5", tmp_path / "model"), tmp_path / "scratch"  # T5 has dropout
    scratch.mkdir()
    sides = seq2seq.plain_sides(folder)
    random = np.random.default_rng(0)
    pairs = [(_ids(sides.source, 3 + n % 5, random), _ids(sides.target, 9 - n % 4, random)) for n in range(20)]
    tuned = {"method": "lora", "batch_size": 4, "group_by_length": True, "checkpoint_seconds": 0, "evaluate_every": 4}
    stage = AdaptedFineTuning.model_validate({"steps": 10, "learning_rate": 0.02, **tuned})

    def fit(key: str, stop_after: int | None = None) -> tuple[dict[str, torch.Tensor], int]:
        """The adapters, and where their training began; `stop_after` ends the process, in the test's eyes."""
        seed_everything(0)
        task = seq2seq.corpus(tmp_path, folder, sides, pairs)
        model = task.load(folder)
        lora.add_adapters(model, stage)

        def progress(done: float, *_: object) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        examples, held_out = (task.examples("fine_tuning", split) for split in ("train", "validation"))
        result = train(model, task, examples, held_out, stage, 0, Checkpoints(store, key, scratch), progress)
        return {name: one for name, one in model.named_parameters() if one.requires_grad}, result.resumed_from

    whole, _ = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("cut", stop_after=6)
    cut, begun = fit("cut")
    assert 0 < begun < 7
    assert cut.keys() == whole.keys() and all(torch.equal(cut[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("family", "tuned"),
    [("marian", {}), ("mt5", {}), ("bart", {"method": "lora"}), ("t5", {"method": "lora", "lora": {"rank": 3}})],
)
def test_a_plan_expects_what_the_engine_counts(family: str, tuned: dict[str, Any], tmp_path: Path) -> None:
    folder = seq2seq.write(family, tmp_path / "checkpoint")
    recipe = Recipe.model_validate(
        {
            "name": "counted",
            "task": "translation",
            "data": {"path": "pairs.jsonl", "suite": "suite.json"},
            "preprocessing": {"sequence_length": 48},
            "model": {"type": "auto"},
            "pretraining": {"init": str(folder), "steps": 0, "learning_rate": 1.0},
            "fine_tuning": {"steps": 1, "learning_rate": 1.0, **tuned},
            "registration": {"model": "counted"},
        }
    )
    expected = cost(recipe, "fine_tuning", RunFacts(weights=json.loads((folder / "config.json").read_text())))
    task = seq2seq.corpus(tmp_path, folder, seq2seq.plain_sides(folder, length=48), [([9] * 48, [9] * 48)])
    model = task.load(folder)
    matrices = sum(one.numel() for name, one in model.named_parameters() if one.ndim > 1 and "position" not in name)
    if tuned:
        assert recipe.fine_tuning is not None
        lora.add_adapters(model, recipe.fine_tuning)
    batch = task.examples("fine_tuning", "train").batch(np.arange(1))
    with torch_attention.as_one():
        counted = probe.measure(lambda: task.loss(model.train(), batch), []).flops
    assert expected is not None and expected.flops == pytest.approx(counted, rel=0.02)
    assert expected.parameters == pytest.approx(matrices, rel=0.02) and expected.terms == task.terms(batch)
