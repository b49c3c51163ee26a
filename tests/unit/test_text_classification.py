"""What text_classification computes: what is hidden, who is labelled, what TF-IDF has to be beaten by."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory
from modelmill.corpus.example_shards import ShardedWriter, of_text
from modelmill.corpus.in_memory import AllRows
from modelmill.models.keyed_random import drawn
from modelmill.store.manifest import Manifest
from modelmill.tasks.text_classification import baseline, demo, evaluate, labels, masking
from modelmill.tasks.text_classification.recipe import EncoderModel, Recipe, TextPreprocessing
from modelmill.tasks.text_classification.task import TextClassification

FIRST, MASK, PADDING, SIZE = 0, 1, 2, 50


def framed(lengths: list[int], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.full((len(lengths), width), PADDING)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.tensor([FIRST, *range(3, length + 1), FIRST])
    return tokens, (tokens != PADDING).long()


def test_of_each_text_the_share_is_hidden_and_never_its_frame_or_padding() -> None:
    tokens, mask = framed([22, 12, 3], 24)
    hidden = masking.hide(tokens, mask, torch.rand(3, 3, 24), 0.2, MASK, SIZE)
    assert hidden.places.sum(1).tolist() == masking.count(mask.sum(1), 0.2).tolist() == [4, 2, 1]
    assert not hidden.places[tokens <= PADDING].any()
    assert torch.equal(hidden.input_ids[~hidden.places], tokens[~hidden.places])


def test_four_of_five_hidden_tokens_are_masks_and_one_of_ten_is_another_token() -> None:
    tokens, mask = framed([42] * 500, 42)
    draws = drawn(torch.arange(500), 42)
    hidden = masking.hide(tokens, mask, draws, 0.5, MASK, SIZE)
    seen, was = hidden.input_ids[hidden.places], tokens[hidden.places]
    assert (seen == MASK).float().mean() == pytest.approx(0.8, abs=0.02)
    assert ((seen != MASK) & (seen != was)).float().mean() == pytest.approx(0.1, abs=0.02)


def test_fixed_draws_depend_on_text_and_place_and_are_uniform() -> None:
    keys = torch.tensor([7, -(2**63), 2**63 - 1, 7])
    draws = drawn(keys, 1000)
    assert torch.equal(draws[:, 0], draws[:, 3]) and not torch.equal(draws[:, 0], draws[:, 1])
    assert torch.equal(draws[:, :, :10], drawn(keys, 10))
    assert draws.min() >= 0 and draws.max() < 1
    counts = torch.histc(draws.flatten(), 10, 0, 1)
    assert counts.min() > 1050 and counts.max() < 1350


@pytest.fixture
def task(tmp_path: Path) -> TextClassification:
    tokens, mask = framed([22, 12, 5, 9], 24)
    with ShardedWriter(tmp_path) as writer:
        for identity, row, length in zip((5, 6, 2**64 - 1, 8), tokens.numpy(), mask.sum(1).tolist(), strict=True):
            writer.add("train", identity, {"tokens": row[:length].astype(np.uint16), "text": of_text(str(identity))})
    np.save(tmp_path / "labels.npy", np.array([0, labels.UNLABELLED, 1, 1], np.int64))
    files = writer.files() | {"train/labels.npy": tmp_path / "labels.npy"}
    special = {"first": FIRST, "last": FIRST, "mask": MASK, "padding": PADDING}
    info = {"classes": ["a", "b"], "sequence_length": 24, "vocab_size": SIZE, "special": special}
    settings = EncoderModel(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return TextClassification(Manifest(kind="corpus", entries=[], made_from={}, info=info), files, settings)


def test_pretraining_hides_other_tokens_each_step_and_the_same_ones_in_validation(task: TextClassification) -> None:
    task.stage = "pretraining"
    examples = task.examples("pretraining", "train")
    batch = examples.batch(np.arange(len(examples)))
    torch.manual_seed(0)
    model = task.build().eval()
    assert len(examples) == 4 and task.terms(batch) == 3 + 2 + 1 + 1
    first, again = (task.loss(model, batch).item() for _ in range(2))
    alone = sum(task.loss(model, examples.batch(np.array([one]))).item() for one in range(4))
    assert first == again == pytest.approx(alone, rel=1e-4)
    assert first / task.terms(batch) == pytest.approx(np.log(SIZE), rel=0.1)
    model.train()
    model.apply(lambda module: setattr(module, "p", 0.0) if isinstance(module, torch.nn.Dropout) else None)
    torch.manual_seed(1)
    one, other = (task.loss(model, batch).item() for _ in range(2))
    torch.manual_seed(1)
    assert one != other and task.loss(model, batch).item() == one


def test_fine_tuning_sees_labelled_texts_alone_no_longer_than_they_are(task: TextClassification) -> None:
    task.stage = "fine_tuning"
    examples = task.examples("fine_tuning", "train")
    assert len(examples) == 3
    batch = examples.batch(np.array([1, 2]))
    assert batch["labels"].tolist() == [1, 1] and batch["input_ids"].shape == (2, 16)
    torch.manual_seed(0)
    model = task.build().eval()
    logits = task.logits(model, batch["input_ids"])
    whole = task.logits(model, torch.nn.functional.pad(batch["input_ids"], (0, 8), value=PADDING))
    assert logits.shape == (2, 2) and torch.allclose(logits, whole, atol=1e-6)
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
    assert task.loss(model, batch).item() == pytest.approx(expected.item())


def test_fine_tuning_takes_the_pretrained_encoder(task: TextClassification, tmp_path: Path) -> None:
    task.stage = "pretraining"
    torch.manual_seed(0)
    pretrained = task.build()
    pretrained.save_pretrained(tmp_path / "model")
    task.files["tokenizer/tokenizer.json"] = tmp_path / "tokenizer.json"
    vocabulary = ", ".join(f'"{number}": {number}' for number in range(SIZE))
    (tmp_path / "tokenizer.json").write_text(f'{{"model": {{"vocab": {{{vocabulary}}}}}}}')
    task.stage = "fine_tuning"
    tuned = task.load(tmp_path / "model")
    for name, weight in pretrained.bert.state_dict().items():
        assert torch.equal(tuned.bert.state_dict()[name], weight), name
    assert tuned.classifier.out_features == 2 and tuned.config.id2label == {0: "a", 1: "b"}


def rows(names: list[str], splits: list[str], texts: list[str] | None = None) -> AllRows:
    columns = {"text": texts or ["some text"] * len(names), "label": names}
    return AllRows(columns, np.array(splits), np.arange(len(names), dtype=np.uint64), [])


def test_a_larger_share_labels_the_same_rows_and_more() -> None:
    known = {}
    for share in (0.2, 0.5, 1.0):
        settings = TextPreprocessing(labelled=share)
        data = rows(["a", "b"] * 500, ["train"] * 900 + ["test"] * 100)
        _, numbered, _ = labels.number(data, settings)
        assert (numbered.labels[900:] >= 0).all()
        known[share] = set(np.flatnonzero(numbered.labels[:900] >= 0))
    assert known[0.2] < known[0.5] < known[1.0] == set(range(900))
    assert len(known[0.2]) == pytest.approx(180, abs=40)


def test_a_label_that_training_lacks_is_refused_by_row_or_dropped() -> None:
    data = rows(["a", "b", "c", "a"], ["train", "train", "test", "test"])
    with pytest.raises(
        UserError, match=r"label: 'c' of row 3 \(test split\) has no labelled row .*unknown_label: drop"
    ):
        labels.number(data, TextPreprocessing())
    with pytest.raises(UserError, match=r"'c' of row 3 .* is not one of preprocessing.labels"):
        labels.number(data, TextPreprocessing(labels=["a", "b"]))
    kept, numbered, left_out = labels.number(data, TextPreprocessing(unknown_label="drop"))
    assert (numbered.labels.tolist(), numbered.classes, left_out) == ([0, 1, 0], ["a", "b"], 1)
    assert kept.columns["label"] == ["a", "b", "a"] and kept.ids.tolist() == [0, 1, 3]


def test_an_empty_text_is_refused_by_row_or_dropped() -> None:
    data = rows(["a", "b"], ["train", "train"], ["fine", " \n"])
    with pytest.raises(UserError, match=r"preprocessing.text: row 2 .* preprocessing.empty_text: drop"):
        labels.without_empty(data, TextPreprocessing())
    kept, left_out = labels.without_empty(data, TextPreprocessing(empty_text="drop"))
    assert kept.columns["text"] == ["fine"] and left_out == 1


def test_a_class_that_a_split_lacks_is_named() -> None:
    data = rows(["a", "b", "a", "b", "a"], ["train", "train", "validation", "validation", "test"])
    _, numbered, _ = labels.number(data, TextPreprocessing())
    with pytest.raises(UserError, match=r"class 'b' is missing from the test split's 1 labelled rows; raise .*\.test"):
        in_memory.require_classes(numbered.labels, data.splits, numbered.classes, "preprocessing.labelled")


def test_the_baseline_is_what_words_tell() -> None:
    texts = [f"{a} {b}" for a in ("good", "fine", "bad", "poor") for b in ("day", "night", "week")] * 4
    truth = np.array([text.startswith(("bad", "poor")) for text in texts], np.int64)
    data = (texts, truth)
    loss, accuracy = baseline.of_words(data, data, data, 2, {"loss": 0.5, "accuracy": 0.9})
    assert accuracy.least == 1.0 and not accuracy.check["passed"]
    assert loss.most is not None and 0 < loss.most < 0.2 and not loss.check["passed"]


def test_lengths_are_slices_of_powers_of_two() -> None:
    assert [evaluate.length_of(n) for n in (3, 8, 9, 16, 17)] == [
        "up to 8 tokens",
        "up to 8 tokens",
        "9 to 16 tokens",
        "9 to 16 tokens",
        "17 to 32 tokens",
    ]


def test_sentences_are_prose_on_one_line() -> None:
    docstring = (
        "Return the sum of all\n    given numbers.  It is never less than 0.\n\n"
        "Too short.\n\n>>> total = add(1, 2); print(total == 3)  # This is code.\n\nno capital at the start is here."
    )
    assert list(demo.sentences(docstring)) == ["Return the sum of all given numbers.", "It is never less than 0."]


def test_two_neighbouring_plain_words_change_places_in_half_the_sentences() -> None:
    written = [
        f"Return the sum of all {word} numbers, or None." for word in map("".join, itertools.permutations("abcdef"))
    ]
    found = [one for one in map(demo.ordered, written) if one]
    assert len(found) == len(written) and [demo.ordered(sentence) for sentence in written] == found
    swapped = [(one.text.split(), was.split()) for one, was in zip(found, written, strict=True) if one.text != was]
    assert {one.order for one, was in zip(found, written, strict=True) if one.text == was} == {demo.WRITTEN}
    assert len(swapped) == pytest.approx(360, abs=60) and len(swapped) == sum(
        one.order == demo.SWAPPED for one in found
    )
    for words, before in swapped:
        first, second = [place for place, pair in enumerate(zip(words, before, strict=True)) if pair[0] != pair[1]]
        assert second == first + 1 and [words[second], words[first]] == before[first : second + 1]
        assert first > 0 and before[first].islower() and before[second].isalpha()
    assert demo.ordered("Return [the] sum() of: it.") is None


def test_the_demo_has_each_sentence_once_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    few = dict(itertools.islice(demo.standard_library().items(), 300))  # all sources take half a minute
    monkeypatch.setattr(demo, "_sources", lambda: few)
    files = demo.text_classification(2)
    found = [json.loads(line) for data in files.values() for line in data.decode().splitlines()]
    assert {row["path"] for row in found} <= set(few) and len(found) > 1_000
    assert len({" ".join(sorted(row["text"].split())) for row in found}) > 0.99 * len(found)
    assert sum(row["order"] == demo.SWAPPED for row in found) == pytest.approx(len(found) / 2, rel=0.05)
    assert files == demo.text_classification(2)


def test_a_recipe_without_fine_tuning_is_refused() -> None:
    with pytest.raises(ValueError, match="learns its labels"):
        Recipe.model_validate(
            {
                "name": "x",
                "task": "text_classification",
                "data": {"path": "d", "suite": "s"},
                "pretraining": {"steps": 1, "learning_rate": 0.1},
                "fine_tuning": "none",
                "registration": {"model": "x"},
            }
        )
