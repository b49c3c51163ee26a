"""Hygiene in the preprocessing step: counted, cached by shard, and without effect while it is off."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill.corpus.split import split_of
from modelmill.corpus.text import tokenizer
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, write_corpus

ALL = {
    "unicode": "NFC",
    "redact": ["emails", "secrets"],
    "broken": "drop",
    "min_characters": 20,
    "max_repetition": 0.3,
    "exact_duplicates": "drop",
    "near_duplicates": {"similarity": 0.9},
    "contamination": {"words": 13},
}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """To start processes takes longer than what they would do here."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def steps(folder: Path, data: Path, hygiene: dict[str, Any] | None) -> Steps:
    extra = {} if hygiene is None else {"preprocessing__hygiene": hygiene}
    return Steps(language_recipe(folder, data, preprocessing__fit="once", **extra), folder / "work")


def add(data: Path, name: str, *texts: str) -> None:
    rows = [{"path": f"{name}/{n}.py", "text": text} for n, text in enumerate(texts)]
    (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts_of(at: Steps, corpus: Any, kind: str = "documents") -> str:
    """All that a model would see of the corpus, decoded; of documents or of pairs."""
    import numpy as np

    folder = at.folder_of(corpus, "tokenizer")
    trained = tokenizer.load(folder)
    tokens = [np.load(folder.parent / e.path) for e in corpus.entries if e.path.endswith(f"{kind}.tokens.npy")]
    return "\n".join(trained.decode(part.tolist(), skip_special_tokens=False) for part in tokens)


def test_each_rule_leaves_its_trace_in_the_manifest_and_nothing_in_the_corpus(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    unique = "import os\n\n\ndef unlike_any_other(alpha, beta):\n    return os.sep.join([alpha, beta, 'gamma ray'])\n"
    mail = unique.replace("unlike_any_other", "mail_to") + "# ann@example.com, key AKIAIOSFODNN7EXAMPLE, cafe\u0301\n"
    add(data, "z-more", unique, unique, "short", "\ufffd" + unique, "pass  # again\n" * 9, mail)
    at = steps(tmp_path, data, {**ALL, "near_duplicates": None, "contamination": None})
    corpus = at.corpus()
    info = corpus.info["hygiene"]
    assert info["left_out"] == {"broken": 1, "too_short": 1, "repetitive": 1, "exact_duplicate": 1}
    assert info["changed"] == {"normalised": 1, "emails": 1, "secrets": 1}
    assert (info["documents"], info["kept"]) == (126, 122)
    assert sum(c["documents"] for c in corpus.info["splits"].values()) == 122
    assert at.record("preprocessing").headline.endswith("tokens in 122 documents, 4 left out")
    assert at.record("preprocessing").metrics["left_out_too_short"] == 1
    seen = texts_of(at, corpus)
    assert seen.count("unlike_any_other") == 1 and "<email>, key <secret>, caf\u00e9" in seen
    assert not any(word in seen for word in ("ann@", "AKIA", "again", "\ufffd", "short"))


def test_a_training_document_that_quotes_evaluation_is_left_out(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    at = steps(tmp_path, data, {"contamination": {"words": 13}})
    settings = at_settings(at)
    held_out = next(n for n in range(120) if split_of(f"pkg/file_{n}.py", settings) == "test")
    quoting = next(f"quote{n}" for n in range(99) if split_of(f"quote{n}/0.py", settings) == "train")
    before = at.corpus().info["hygiene"]["left_out"].get("contaminated", 0)
    add(data, quoting, "# Mine.\n" + source_file(held_out))
    assert at.corpus().info["hygiene"]["left_out"]["contaminated"] == before + 1


def at_settings(at: Steps) -> Any:
    from modelmill import recipe as recipes

    return recipes.from_json(at.recipe).preprocessing


def test_one_new_shard_is_the_only_one_that_is_encoded_again(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    at = steps(tmp_path, data, {"exact_duplicates": "drop", "near_duplicates": {}})
    first = at.corpus()
    texts = {e.path: e.sha256 for e in first.entries}
    add(data, "z-more", source_file(500) * 3)
    second = at.corpus()
    assert at.record("preprocessing").metrics["new_shards"] == 1
    assert texts.items() <= {e.path: e.sha256 for e in second.entries}.items()


def test_one_new_shard_is_the_only_one_that_is_read(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    at = steps(tmp_path, data, {"exact_duplicates": "drop", "near_duplicates": {}, "redact": ["secrets"]})
    at.corpus()
    add(data, "z-more", source_file(500) * 3)
    dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
    for old in data.glob("part-*.jsonl"):
        old.write_text("a shard that was read now would be refused: these are not the bytes that were validated\n")
    corpus = at.call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
    assert corpus.info["hygiene"]["documents"] == 121
    assert at.record("preprocessing").metrics["new_shards"] == 1


def test_the_number_of_processes_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_corpus(tmp_path / "data")
    add(data, "z-more", source_file(3) + "# ann@example.com\n", source_file(4), source_file(4) + "\n# more\n")
    one = steps(tmp_path / "one", data, ALL).corpus()
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    many = steps(tmp_path / "many", data, ALL).corpus()
    assert many.info == one.info and many.info["hygiene"]["left_out"]
    assert {e.path: e.sha256 for e in many.entries} == {e.path: e.sha256 for e in one.entries}


def test_a_shard_that_loses_a_document_to_a_later_one_is_encoded_again(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    at = steps(tmp_path, data, {"exact_duplicates": "drop"})
    first = at.corpus()
    trained = next(n for n in range(120) if split_of(f"pkg/file_{n}.py", at_settings(at)) == "train")
    held_out = next(f"h{n}" for n in range(99) if split_of(f"h{n}/0.py", at_settings(at)) == "test")
    add(data, "z-" + held_out, source_file(trained))
    rows = (data / f"z-{held_out}.jsonl").read_text().replace(f"z-{held_out}/", f"{held_out}/")
    (data / f"z-{held_out}.jsonl").write_text(rows)
    second = at.corpus()
    assert at.record("preprocessing").metrics["new_shards"] == 2
    before, after = (corpus.info["splits"] for corpus in (first, second))
    assert after["train"]["documents"] == before["train"]["documents"] - 1
    assert after["test"]["documents"] == before["test"]["documents"] + 1


def test_no_document_moves_to_another_split_when_it_is_mended(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    add(data, "a", *(source_file(n) + "# caf\u0065\u0301\n" for n in range(60)))
    kept = {}
    for form in (None, "NFC"):
        extra = {"preprocessing__split_by": None, "preprocessing__hygiene": {"unicode": form, "max_characters": 9999}}
        at = Steps(language_recipe(tmp_path / str(form), data, **extra), tmp_path / str(form) / "work")
        kept[form] = {split: counts["documents"] for split, counts in at.corpus().info["splits"].items()}
    assert kept[None] == kept["NFC"]


def test_pairs_from_columns_are_mended_too(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    add_pairs(data)
    extra = {"preprocessing__pairs": {"from": "columns", "prompt": "path", "response": "module"}}
    hygiene = {"preprocessing__hygiene": {"redact": ["emails"]}}
    at = Steps(language_recipe(tmp_path, data, preprocessing__fit="once", **extra, **hygiene), tmp_path / "work")
    corpus = at.corpus()
    seen = texts_of(at, corpus, "pairs")
    assert "pkg.file_1" in seen and "write to <email>" in seen and "ann@" not in seen


def add_pairs(data: Path) -> None:
    row = {"path": "z/0.py", "text": source_file(900), "module": "write to ann@example.com", "bytes": 1}
    (data / "z-pairs.jsonl").write_text(json.dumps(row) + "\n")


def test_a_split_that_hygiene_has_emptied_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    at = steps(tmp_path, data, {"exact_duplicates": "drop"})
    wanted = {"train": source_file(1), "validation": source_file(2), "test": source_file(1)}
    for split, text in wanted.items():
        name = next(f"d{n}" for n in range(99) if split_of(f"d{n}/0.py", at_settings(at)) == split)
        add(data, name, text)
    dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2
    assert "the train split is empty" in message and "(preprocessing.hygiene left out 1 exact_duplicate)" in message


def test_two_shards_of_the_same_bytes_count_once(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", shards=1)
    (data / "part-01.jsonl").write_bytes((data / "part-00.jsonl").read_bytes())
    at = steps(tmp_path, data, {"exact_duplicates": "drop"})
    info = at.corpus().info["hygiene"]
    assert info["left_out"] == {"exact_duplicate": 120} and info["kept"] == 120


def test_while_it_is_off_the_corpus_is_what_it_would_be_without(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    at = steps(tmp_path, data, None)
    corpus = at.corpus()
    assert "hygiene" not in corpus.info
    harmless = steps(tmp_path / "on", data, {"max_characters": 10**6}).corpus()
    assert harmless.info["hygiene"]["left_out"] == {}
    assert {e.path: e.sha256 for e in harmless.entries} == {e.path: e.sha256 for e in corpus.entries}


def test_rules_that_leave_nothing_are_the_users_mistake(tmp_path: Path) -> None:
    at = steps(tmp_path, write_corpus(tmp_path / "data"), {"min_characters": 10**6})
    dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2
    assert message == "preprocessing.hygiene: every document would be left out (120 too_short); loosen the rules"


@pytest.mark.parametrize(
    "key", ["near_duplicates.similarity=1.5", "redact=[phones]", "max_repetition=-1", "dedup=true"]
)
def test_a_wrong_setting_is_refused_with_its_key(key: str, tmp_path: Path) -> None:
    from modelmill import recipe as recipes
    from modelmill.core.errors import UserError

    path = language_recipe(tmp_path, write_corpus(tmp_path / "data"))
    with pytest.raises(UserError, match="preprocessing.hygiene." + key.split("=")[0].split(".")[0]):
        recipes.load(path, [f"preprocessing.hygiene.{key}"])
