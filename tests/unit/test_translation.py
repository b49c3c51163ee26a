"""What translation computes: what is hidden, what is read and written, what a dictionary knows, the demo's names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from modelmill.corpus.example_shards import ShardedWriter
from modelmill.store.manifest import Manifest
from modelmill.tasks.translation import demo, noise
from modelmill.tasks.translation.dictionary import Dictionary
from modelmill.tasks.translation.recipe import Recipe, TranslatorModel
from modelmill.tasks.translation.task import IGNORED, Pairs, Translation

END, MASK, PADDING, SOURCE, TARGET, SIZE = 0, 1, 2, 3, 4, 40
SPECIAL = {"end": END, "mask": MASK, "padding": PADDING, "source": SOURCE, "target": TARGET}


def test_each_hidden_span_is_one_mask_and_the_end_stays() -> None:
    tokens = torch.tensor([[10, 11, 12, 13, 14, END, PADDING, PADDING]])
    draws = torch.ones(3, 1, 8)
    draws[0, 0, 1], draws[1, 0, 1] = 0.0, 0.5  # a span of two
    draws[0, 0, 4], draws[1, 0, 4] = 0.0, 0.9  # a span of three, which the end cuts short
    seen = noise.infill(tokens, draws, 0.3, MASK, END, PADDING)
    assert seen.tolist() == [[10, MASK, 13, MASK, END, PADDING, PADDING, PADDING]]


def test_about_the_share_is_hidden() -> None:
    tokens = torch.full((400, 20), 10)
    tokens[:, -1] = END
    torch.manual_seed(0)
    for share in (0.1, 0.35):
        seen = noise.infill(tokens, torch.rand(3, 400, 20), share, MASK, END, PADDING)
        kept = (seen == 10).sum() / (400 * 19)
        assert 1 - kept == pytest.approx(share, abs=0.06)
        assert (seen == END).sum() == 400


@pytest.fixture
def task(tmp_path: Path) -> Translation:
    rows = [
        (5, [10, 11, END], [20, END], True),
        (2**64 - 1, [12, END], [21, 22, 23, END], False),
        (8, [13, 14, 15, END], [24, END], True),
    ]
    with ShardedWriter(tmp_path) as writer:
        for identity, source, target, paired in rows:
            tokens = {"source": np.array(source, np.uint16), "target": np.array(target, np.uint16)}
            writer.add("train", identity, {**tokens, "paired": np.array(paired)})
    files = writer.files()
    info = {"sequence_length": 8, "vocab_size": SIZE, "special": SPECIAL}
    settings = TranslatorModel(d_model=16, layers=1, attention_heads=2, ffn_dim=16, dropout=0.0)
    return Translation(Manifest(kind="corpus", entries=[], made_from={}, info=info), files, settings)


def test_fine_tuning_sees_pairs_and_pretraining_each_text_by_itself(task: Translation) -> None:
    pairs = task.examples("fine_tuning", "train")
    batch = pairs.batch(np.arange(len(pairs)))
    assert batch["input_ids"].tolist() == [[10, 11, END, PADDING], [13, 14, 15, END]]
    assert batch["labels"].tolist() == [[20, END, IGNORED, IGNORED], [24, END, IGNORED, IGNORED]]
    assert batch["language"].tolist() == [TARGET, TARGET] and task.terms(batch) == 4
    texts = task.examples("pretraining", "train")
    assert isinstance(texts, Pairs) and len(texts) == 6
    batch = texts.batch(np.array([1, 4]))
    assert batch["input_ids"].tolist() == [[12, END, PADDING, PADDING], [21, 22, 23, END]]
    assert batch["language"].tolist() == [SOURCE, TARGET] and task.terms(batch) == 6
    assert len(set(texts.batch(np.arange(6))["keys"].tolist())) == 6


def test_what_is_written_hangs_on_what_was_written_before_it_alone(task: Translation) -> None:
    torch.manual_seed(0)
    model = task.build().eval()
    batch = task.examples("fine_tuning", "train").batch(np.array([0]))
    changed = batch | {"labels": torch.tensor([[20, 30, IGNORED, IGNORED]])}
    one, other = task.written(model, batch), task.written(model, changed)
    assert torch.allclose(one[:, :2], other[:, :2]) and not torch.allclose(one[:, 2], other[:, 2])
    assert torch.allclose(task.logits(model, batch["input_ids"]), one[:, 0], atol=1e-5)
    padded = batch | {"input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 3), value=PADDING)}
    assert torch.allclose(task.written(model, padded), one, atol=1e-5)


def test_what_is_hidden_is_new_in_each_step_and_fixed_in_validation(task: Translation) -> None:
    torch.manual_seed(0)
    model = task.build()
    examples = task.examples("pretraining", "train")
    batch = examples.batch(np.arange(len(examples)))
    assert task.loss(model.train(), batch).item() != task.loss(model, batch).item()
    assert task.loss(model.eval(), batch).item() == task.loss(model, batch).item()


def test_a_dictionary_knows_words_spells_others_and_drops_what_has_no_translation() -> None:
    known = Dictionary(
        [("new york", "novyj york"), ("new rome", "novyj rym"), ("york", "york"), ("ab", "xy"), ("a", "x")]
    )
    assert known.translate("new york") == "novyj york"
    assert known.translate("rome ba?") == "rym yx?"


def test_the_demo_is_names_in_two_alphabets_each_once() -> None:
    files = demo.translation(3)
    rows = [json.loads(line) for data in files.values() for line in data.decode().splitlines()]
    names = {row["english"]: row["ukrainian"] for row in rows}
    assert len(names) == len(rows) > 10_000 and names["Liguria"] == "Лігурія"


def test_a_recipe_without_fine_tuning_is_refused_and_the_split_goes_by_the_source() -> None:
    content = {
        "name": "x",
        "task": "translation",
        "data": {"path": "d", "suite": "s"},
        "preprocessing": {"source": "english"},
        "fine_tuning": {"steps": 1, "learning_rate": 0.1},
        "registration": {"model": "x"},
    }
    assert Recipe.model_validate(content).preprocessing.split_by == "english"
    with pytest.raises(ValueError, match="learns its pairs"):
        Recipe.model_validate(content | {"fine_tuning": "none", "pretraining": {"steps": 1, "learning_rate": 0.1}})
