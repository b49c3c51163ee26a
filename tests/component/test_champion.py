"""Every held-out example is kept, and the model is compared with the champion on them."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from modelmill import recipe as recipes
from modelmill.champion import champion_state
from modelmill.champion.champion_state import Candidate
from modelmill.champion.comparison.rows import FILE, read
from modelmill.champion.promotion import promote
from modelmill.corpus.split import split_of
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import Recipe as LanguageModelingRecipe
from modelmill.tasks.tabular_classification.recipe import Recipe as TabularClassificationRecipe
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, table_recipe, write_corpus, write_table

TEXT, TABLE = LanguageModelingRecipe.measures, TabularClassificationRecipe.measures

COMPARED = ("evaluation.comparison={minimum: 20}",)
# As many hidden units and steps as it takes to be worse, and better.
WORSE, BETTER = "fine_tuning.steps=5", "fine_tuning.steps=300"


def table_rows(steps: Steps, made: Manifest) -> list[dict[str, Any]]:
    return pq.read_table(io.BytesIO(manifest.read_entry(steps.store, made.entry(FILE)))).to_pylist()


def evaluate(recipe: Path, folder: Path, *overrides: str) -> tuple[Steps, Manifest, Manifest]:
    """The steps, the model and its evaluation, over one store."""
    steps = Steps(recipe, folder, *overrides)
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    model = steps.tuned(corpus, pretrained)
    return steps, model, steps.evaluated(corpus, pretrained, model)


def crown(steps: Steps, name: str, model: Manifest, evaluation: Manifest) -> None:
    """Make a model the champion."""
    candidate = Candidate(version="1", model=model.digest, evaluation=evaluation.digest)
    entry = champion_state.decision("promoted", candidate, "a test says so", None)
    champion_state.change(steps.store, name, lambda now: (now.model_copy(update={"champion": candidate}), entry))


def test_a_row_for_each_held_out_row_of_a_table(tmp_path: Path) -> None:
    steps, _, made = evaluate(table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "steps")
    rows = table_rows(steps, made)
    metrics = made.info["metrics"]
    assert len({row["example"] for row in rows}) == len(rows) > 20
    assert sum(row["loss"] for row in rows) / len(rows) == pytest.approx(metrics["loss"])
    assert sum(row["correct"] for row in rows) / len(rows) == pytest.approx(metrics["accuracy"])
    assert {tuple(row["slices"]) for row in rows} == {("label=big",), ("label=small",)}
    assert all((row["label"] == row["prediction"]) == row["correct"] for row in rows)
    bins = json.loads(manifest.read_entry(steps.store, made.entry("calibration.json")))
    assert sum(one["rows"] for one in bins) == len(rows)
    off = sum(one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / len(rows)
    assert metrics["ece"] == pytest.approx(off)


def test_a_row_for_each_held_out_text_and_pair(tmp_path: Path) -> None:
    steps, _, made = evaluate(language_recipe(tmp_path, write_corpus(tmp_path / "data")), tmp_path / "steps")
    rows = table_rows(steps, made)
    metrics = made.info["metrics"]
    by = {(one["set"], one["model"]): [] for one in rows}
    for one in rows:
        by[one["set"], one["model"]].append(one)
    assert set(by) == {("documents", "before"), ("pairs", "before"), ("pairs", "after")}
    ratio = read(steps.store, made, TEXT["bits_per_byte"])
    assert ratio.values.sum() / ratio.weights.sum() == pytest.approx(metrics["bits_per_byte"])
    after = by["pairs", "after"]
    assert sum(r["loss"] for r in after) / sum(r["weight"] for r in after) == pytest.approx(metrics["loss_after"])
    assert [r["example"] for r in after] == [r["example"] for r in by["pairs", "before"]]
    ratio = read(steps.store, made, TEXT["response_bits_per_byte"])
    assert ratio.values.sum() / ratio.weights.sum() == pytest.approx(metrics["response_bits_per_byte"])


def test_texts_have_the_same_ids_with_another_tokenizer(tmp_path: Path) -> None:
    # Windows so long that no pair is cut to fit.
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"), preprocessing__sequence_length=512)
    one, other = (
        evaluate(recipe, tmp_path / "steps", f"preprocessing.tokenizer.vocab_size={size}") for size in (300, 400)
    )
    for metric in ("bits_per_byte", "response_bits_per_byte"):
        mine, its = (read(steps.store, made, TEXT[metric]) for steps, _, made in (one, other))
        assert mine.examples.tolist() == its.examples.tolist()
        assert mine.weights.tolist() == its.weights.tolist()
        assert mine.values.tolist() != its.values.tolist()


def test_rows_that_training_has_seen_are_marked_and_count_for_nothing(tmp_path: Path) -> None:
    # Row n + 100 is row n again, under another id.
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"))
    steps, _, made = evaluate(recipe, tmp_path / "steps", "preprocessing.split_by=id")
    rows = table_rows(steps, made)
    seen = [row for row in rows if row["contaminated"]]
    assert 0 < len(seen) < len(rows)
    assert len(read(steps.store, made, TABLE["loss"]).examples) == len(rows) - len(seen)


def test_texts_that_training_has_seen_are_marked(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    texts = [source_file(n) for n in range(120)]
    again = [{"path": f"copy/{n}.py", "text": text, "module": "copy", "bytes": 1} for n, text in enumerate(texts)]
    (data / "part-09.jsonl").write_text("".join(json.dumps(row) + "\n" for row in again))
    steps, _, made = evaluate(language_recipe(tmp_path, data), tmp_path / "steps")
    settings = recipes.from_json(steps.recipe).preprocessing
    splits = {"train": set(), "test": set(), "validation": set()}
    for n, text in enumerate(texts):
        for path in (f"pkg/file_{n}.py", f"copy/{n}.py"):
            splits[split_of(path, settings)].add(text)
    found = [row for row in table_rows(steps, made) if row["set"] == "documents"]
    assert len({row["example"] for row in found if row["contaminated"]}) == len(splits["test"] & splits["train"]) > 0
    assert {row["contaminated"] for row in found} == {True, False}
    assert len(read(steps.store, made, TEXT["bits_per_byte"]).examples) == sum(not row["contaminated"] for row in found)


def test_a_table_s_model_must_beat_the_shares_of_the_classes_and_a_line(tmp_path: Path) -> None:
    """The classes lie in opposite corners, where no line tells them apart."""
    data = tmp_path / "data"
    data.mkdir()
    places = [(n % 20 / 10 - 0.95, n // 20 / 10 - 0.95) for n in range(400)]
    rows = [f"{n},{x:.2f},{y:.2f},{'big' if x * y > 0 else 'small'}" for n, (x, y) in enumerate(places)]
    (data / "table.csv").write_text("\n".join(["id,width,height,kind", *rows]) + "\n")
    training = {"method": "full", "batch_size": 64, "learning_rate": 0.03}
    recipe = table_recipe(
        tmp_path, data, model={"hidden": [16]}, fine_tuning=training, evaluation={"comparison": "none"}
    )
    for steps_taken, passed in ((0, False), (200, True)):
        steps, _, made = evaluate(recipe, tmp_path / "steps", f"fine_tuning.steps={steps_taken}")
        checks = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
        line = "logistic regression on the columns"
        against = [("loss", "the shares of the classes"), ("loss", line), ("accuracy", line)]
        assert [(check["metric"], check["baseline"]) for check in checks] == against
        assert checks[2]["min"] < 0.7
        assert made.info["passed"] is steps.value is passed


def test_a_better_challenger_passes_and_a_worse_one_does_not(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), evaluation={"baseline": False})
    steps, weak, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED, WORSE)
    assert evaluation.info["decision"]["verdict"] == "no champion yet" and steps.value is True
    crown(steps, "tiny-table", weak, evaluation)
    _, strong, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED, BETTER)
    decision = evaluation.info["decision"]
    assert (decision["verdict"], decision["passed"]) == ("better", True)
    assert decision["numbers"]["low"] > 0 and decision["champion"]["version"] == "1"
    crown(steps, "tiny-table", strong, evaluation)
    steps, _, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED, "fine_tuning.steps=6")
    assert (evaluation.info["decision"]["verdict"], steps.value) == ("worse", False)
    assert steps.record("evaluation").headline.endswith("gate failed; against the champion: worse")
    (_, refused), (_, crowned), *_ = champion_state.history(steps.store, "tiny-table")
    assert (refused.what, refused.version, refused.against) == ("refused", None, "1")
    assert refused.evidence == evaluation.digest and refused.reason == evaluation.info["decision"]["reason"]
    assert crowned.what == "promoted" and champion_state.read(steps.store, "tiny-table").champion.model == strong.digest
    steps, _, evaluation = evaluate(recipe, tmp_path / "steps", "evaluation.comparison={minimum: 21}", BETTER)
    assert (evaluation.info["decision"]["verdict"], steps.value) == ("the champion itself", True)


def test_an_evaluation_is_found_once_its_model_is_the_champion_and_only_then(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), evaluation={"baseline": False})
    made = {name: evaluate(recipe, tmp_path / "steps", *COMPARED, name) for name in (BETTER, WORSE)}
    for crowned in (BETTER, WORSE):
        _, model, evaluation = made[crowned]
        crown(made[crowned][0], "tiny-table", model, evaluation)
        again, _, same = evaluate(recipe, tmp_path / "steps", *COMPARED, crowned)
        assert (again.record("evaluation").status, same) == ("reused", evaluation)
        other, _, _ = evaluate(recipe, tmp_path / "steps", *COMPARED, WORSE if crowned == BETTER else BETTER)
        assert other.record("evaluation").status == "ran"


@pytest.mark.parametrize("first", ["weak", "strong"])
def test_who_loses_the_race_is_compared_with_who_has_won_it(tmp_path: Path, first: str) -> None:
    """Both were evaluated while there was no champion."""
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), evaluation={"baseline": False})
    made = {"weak": evaluate(recipe, tmp_path / "steps", *COMPARED, WORSE)}
    made["strong"] = evaluate(recipe, tmp_path / "steps", *COMPARED, BETTER)
    order = [first, *(name for name in made if name != first)]
    for version, name in enumerate(order, 1):
        steps, model, evaluation = made[name]
        candidate = Candidate(version=str(version), model=model.digest, evaluation=evaluation.digest)
        settled = promote(steps.store, "tiny-table", candidate, is_new=True)
    assert settled.standing.champion.model == made["strong"][1].digest
    assert settled.decision.what == ("promoted" if first == "weak" else "refused")
    assert settled.decision.numbers["examples"] > 20 and settled.decision.against == "1"


def test_a_champion_of_another_split_or_other_classes_is_not_compared(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), evaluation={"baseline": False})
    steps, model, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED)
    crown(steps, "tiny-table", model, evaluation)
    steps = Steps(recipe, tmp_path / "steps", *COMPARED, "preprocessing.test=0.3")
    corpus = steps.corpus()
    nothing = steps.pretrained(corpus)
    code, message = steps.fails(
        "evaluation", ["evaluation"], corpus=corpus, pretrained=nothing, model=steps.tuned(corpus, nothing)
    )
    assert code == 2 and "preprocessing.test was 0.2 and is 0.3" in message
    folder = write_table(tmp_path / "data")
    (folder / "more.csv").write_text("id,width,height,kind\n" + "".join(f"{n},9.{n},9.{n},huge\n" for n in range(40)))
    steps, _, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED)
    assert steps.value is False
    assert "['big', 'huge', 'small']" in evaluation.info["decision"]["reason"]


def test_a_champion_whose_rows_are_gone_or_changed_is_named(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), evaluation={"baseline": False})
    steps, model, evaluation = evaluate(recipe, tmp_path / "steps", *COMPARED, WORSE)
    crown(steps, "tiny-table", model, evaluation)
    path = steps.store.local_path(f"blobs/{evaluation.entry(FILE).sha256[:2]}/{evaluation.entry(FILE).sha256}")
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    steps = Steps(recipe, tmp_path / "steps", *COMPARED, BETTER)
    corpus = steps.corpus()
    nothing = steps.pretrained(corpus)
    code, message = steps.fails(
        "evaluation", ["evaluation"], corpus=corpus, pretrained=nothing, model=steps.tuned(corpus, nothing)
    )
    assert code == 1
    assert "the champion, tiny-table version 1, cannot be compared with" in message
