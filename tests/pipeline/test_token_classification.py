"""A model that finds entities through all steps, on texts in which only the words around a name tell what it is."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests import cli, recipes
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

NAMES = ["oslo", "rome", "lima", "bern", "kyiv", "doha", "riga", "apia", "suva", "hanoi"]
WORDS = ["met", "in", "near", "mr", "dr", "new", ".", ","]
RECIPE = {
    "name": "tiny-tags",
    "task": "token_classification",
    "seed": 1,
    "data": {"path": "texts.jsonl", "suite": "suite.json"},
    "preprocessing": {"validation": 0.15, "test": 0.2, "sequence_length": 16},
    "model": {"type": "auto"},
    "pretraining": {"init": "model", "steps": 0, "learning_rate": 0.1},
    "fine_tuning": {
        "steps": 60,
        "batch_size": 32,
        "learning_rate": 0.005,
        "evaluate_every": 20,
        "group_by_length": True,
        "layer_decay": 0.9,
    },
    "evaluation": {"gate": {"f1": {"min": 0.9}}, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-tags"},
}


def rows() -> list[dict[str, list[str]]]:
    """A text for each two names: after a title it is a person, after `in` or `near` a place; some have two words."""
    made = []
    for number, (one, other) in enumerate(itertools.permutations(NAMES, 2)):
        for title, where in (("mr", "in"), ("dr", "near"), ("mr", "near")):
            is_long = number % 3 == 0
            words = [title, one, "met", title, other, where, *(["new"] if is_long else []), one, "."]
            place = ["B-place", "I-place"] if is_long else ["B-place"]
            tags = ["O", "B-person", "O", "O", "B-person", "O", *place, "O"]
            made.append({"tokens": words, "tags": tags})
    return made


def checkpoint(folder: Path) -> None:
    """A tiny BERT with random weights and a tokenizer of whole words."""
    from transformers import BertConfig, BertModel, BertTokenizer, set_seed

    set_seed(0)
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *NAMES])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    BertTokenizer(tokenizer_object=tokenizer, vocab=vocabulary).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)


def write(folder: Path, data: list[dict[str, Any]], **changes: Any) -> Path:
    """Texts, the checkpoint and the recipe beside them."""
    checkpoint(folder / "model")
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    return recipes.write(folder, RECIPE, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(write(tmp_path_factory.mktemp("tags"), rows()))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_learns_what_words_alone_do_not_tell_and_shows_each_kind(finished: Finished) -> None:
    (check,) = [check for check in finished.evaluation("gate.json")["checks"] if "better_by" in check]
    assert check["passed"] and check["min"] < 0.8 < check["value"] and check["better_by"][0] > 0
    classes = {row["class"]: row for row in finished.evaluation("classes.json")}
    assert classes.keys() == {"all", "person", "place"}
    assert finished.evaluation("metrics.json")["words_kept"] == 1.0
    assert "By class" in finished.page and "place: new" in finished.page


def test_it_answers_with_entities_and_their_places(finished: Finished) -> None:
    text = "Dr Lima met dr Oslo near New Lima."
    answered = finished.predict({"text": text}, {"text": "  "})
    first, second = (json.loads(line)["entities"] for line in answered.stdout.splitlines())
    assert [(one["kind"], one["text"]) for one in first] == [
        ("person", "Lima"),
        ("person", "Oslo"),
        ("place", "New Lima"),
    ], answered.stderr
    assert all(text[one["start"] : one["end"]] == one["text"] for one in first) and second == []


def test_a_tag_that_may_not_be_there_is_one_line(tmp_path: Path) -> None:
    recipe = write(tmp_path, [*rows(), {"tokens": ["oslo"], "tags": ["I-place"]}])
    done = cli.modelmill("run", recipe, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "preprocessing." in line]
    assert (
        "texts.jsonl row 271: tag 1 is 'I-place', and nothing is before it" in line and "Traceback" not in done.stderr
    )
