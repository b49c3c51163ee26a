"""Kinds of labels of texts: any number of them, numbers, and pairs of texts."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_error

from modelmill.core.errors import UserError
from modelmill.corpus.in_memory import AllRows
from modelmill.measures import found, multi_label, regression
from modelmill.recipe.sections import Bound
from modelmill.tasks.text_classification import baseline, kinds, label_values
from modelmill.tasks.text_classification.framing import framed
from modelmill.tasks.text_classification.recipe import METRICS, Recipe, TextGate, TextPreprocessing


def rows(values: list[Any], splits: list[str]) -> AllRows:
    columns = {"text": ["a text"] * len(values), "label": values}
    return AllRows(columns, np.array(splits), np.arange(len(values), dtype=np.uint64), [])


def test_lists_of_labels_become_a_column_a_label() -> None:
    data = rows([["b", "a"], [], '["b"]', ["c", "a"]], ["train", "train", "train", "test"])
    with pytest.raises(UserError, match=r"'c' of row 4 \(test split\) has no labelled row in the training split"):
        label_values.of_rows(data, TextPreprocessing(label_kind="multi"))
    kept, its, left_out = label_values.of_rows(data, TextPreprocessing(label_kind="multi", unknown_label="drop"))
    assert (its.classes, left_out, len(kept.ids)) == (["a", "b"], 1, 3)
    assert its.values.tolist() == [[1, 1], [0, 0], [0, 1]] and kinds.is_labelled(its.values).all()
    with pytest.raises(UserError, match=r"no labelled training row has the label 'c'"):
        label_values.of_rows(data, TextPreprocessing(label_kind="multi", labels=["a", "b", "c"]))
    with pytest.raises(UserError, match=r"row 2 of the data: column 'label' has 'x', which is no list of labels"):
        label_values.of_rows(rows([["a"], "x"], ["train", "train"]), TextPreprocessing(label_kind="multi"))


@pytest.mark.parametrize("kind", ["single", "multi", "number"])
def test_labels_that_fine_tuning_must_not_see_are_hidden_in_training_alone(kind: str) -> None:
    value = {"single": lambda n: "ab"[n % 2], "multi": lambda n: ["a", "b"][: n % 3], "number": lambda n: n / 7}[kind]
    data = rows([value(n) for n in range(200)], ["train"] * 150 + ["test"] * 50)
    _, its, _ = label_values.of_rows(data, TextPreprocessing.model_validate({"label_kind": kind, "labelled": 0.3}))
    seen = kinds.is_labelled(its.values)
    assert 20 < seen[:150].sum() < 80 and seen[150:].all()


def test_numbers_are_kept_with_the_scale_of_the_training_rows() -> None:
    data = rows([1, "2.5", 4, 100.0], ["train", "train", "validation", "test"])
    _, its, _ = label_values.of_rows(data, TextPreprocessing(label_kind="number"))
    assert its.values.tolist() == [1, 2.5, 4, 100] and its.scale == (1.75, 0.75)
    assert its.info == {"classes": ["label"], "label_scale": [1.75, 0.75]}
    with pytest.raises(UserError, match=r"'good' of row 2 is no number, as 1 rows in all; .*label_kind: single"):
        label_values.of_rows(rows([1, "good"], ["train", "train"]), TextPreprocessing(label_kind="number"))
    with pytest.raises(UserError, match="no two different numbers"):
        label_values.of_rows(rows([1, 1], ["train", "train"]), TextPreprocessing(label_kind="number"))


def test_measures_of_any_number_of_labels_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, probabilities = random.random((60, 3)) < [0.5, 0.2, 0.7], random.random((60, 3))
    ids = np.arange(60, dtype=np.uint64)
    measured = multi_label.measure(["a", "b", "c"], truth, probabilities, ids, ids[:5])
    predicted = probabilities >= 0.5
    assert measured.metrics["f1"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert measured.metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    expected = f1_score(truth, predicted, average="samples", zero_division=1)
    assert measured.metrics["text_f1"] == pytest.approx(expected)
    assert measured.metrics["loss"] == pytest.approx(log_loss(truth.ravel(), probabilities.ravel()))
    assert measured.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities))
    assert measured.metrics["accuracy"] == (truth == predicted).all(axis=1).mean()
    assert np.mean([row["loss"] for row in measured.rows]) == pytest.approx(measured.metrics["loss"])
    assert np.mean([row["score"] for row in measured.rows]) == pytest.approx(measured.metrics["text_f1"])
    assert [row["contaminated"] for row in measured.rows] == [True] * 5 + [False] * 55
    assert [row["class"] for row in measured.files[found.FILE]] == ["all", "a", "b", "c"]
    assert set(measured.metrics) == set(METRICS["multi"])


def test_measures_of_numbers_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=50)
    predicted = truth + random.normal(size=50)
    ids = np.arange(50, dtype=np.uint64)
    metrics = regression.measure(truth, predicted, ids, ids[:0]).metrics
    assert metrics["rmse"] == pytest.approx(root_mean_squared_error(truth, predicted))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert metrics["r2"] == pytest.approx(r2_score(truth, predicted))
    assert metrics["pearson"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    ranks = (one.argsort().argsort() for one in (truth, predicted))
    assert metrics["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    constant = regression.measure(truth, np.zeros(50), ids, ids[:0]).metrics
    assert constant["pearson"] == constant["spearman"] == 0.0 and set(metrics) == set(METRICS["number"])


def test_baselines_learn_labels_and_numbers_from_words() -> None:
    texts = [f"{a} {b}" for a in ("good", "bad", "fine") for b in ("day", "night", "week")] * 6
    several = np.array([["good" in text, "day" in text] for text in texts])
    data = (texts, several)
    values = baseline.of_labels(data, data, data, {"loss": 0.0, "f1": 1.0})
    assert [one.metric for one in values] == ["loss", "f1"] and values[1].least == 1.0
    numbers = np.array([len(text.split()[0]) + 10.0 * ("week" in text) for text in texts])
    of_mean, ridge = baseline.of_numbers((texts, numbers), (texts, numbers), (texts, numbers), {"rmse": 0.0})
    assert ridge.most is not None and of_mean.most == pytest.approx(numbers.std()) and ridge.most < of_mean.most / 10


def test_the_baseline_of_pairs_sees_which_words_are_common() -> None:
    words = ["oslo", "rome", "lima", "bern", "kyiv", "doha"]
    pairs = [(f"{a} is old", f"{b} is old") for a in words for b in words] * 2
    truth = np.array([one == other for one, other in pairs], np.int64)
    _, accuracy = baseline.of_words((pairs, truth), (pairs, truth), (pairs, truth), 2, {"loss": 0.0, "accuracy": 1.0})
    assert accuracy.least == 1.0


@pytest.mark.parametrize(
    ("texts", "length", "ids", "types"),
    [
        ([[5, 6, 7]], 10, [1, 5, 6, 7, 2], [0] * 5),
        ([[5, 6, 7]], 4, [1, 5, 6, 2], [0] * 4),
        ([[5, 6], [7]], 10, [1, 5, 6, 2, 7, 2], [0, 0, 0, 0, 1, 1]),
        ([[5] * 9, [7]], 8, [1, 5, 5, 5, 5, 2, 7, 2], [0] * 6 + [1] * 2),
        ([[5], [7] * 9], 8, [1, 5, 2, 7, 7, 7, 7, 2], [0] * 3 + [1] * 5),
        ([[5] * 9, [7] * 9], 8, [1, 5, 5, 2, 7, 7, 7, 2], [0] * 4 + [1] * 4),
    ],
)
def test_the_longer_text_of_a_pair_is_cut(
    texts: list[list[int]], length: int, ids: list[int], types: list[int]
) -> None:
    assert framed(texts, length, 1, 2) == (ids, types)


def recipe(**changes: Any) -> Recipe:
    fine_tuning = {"steps": 1, "learning_rate": 0.1, "label_smoothing": changes.pop("smoothing", 0)}
    return Recipe.model_validate(
        {
            "name": "x",
            "task": "text_classification",
            "data": {"path": "d", "suite": "s"},
            "pretraining": "none",
            "fine_tuning": fine_tuning,
            "registration": {"model": "x"},
            **changes,
        }
    )


def test_a_gate_asks_for_metrics_of_its_kind() -> None:
    assert recipe(preprocessing={"label_kind": "number"}, evaluation={"gate": {"rmse": {"max": 1}}})
    with pytest.raises(ValueError, match=r"evaluation.gate.accuracy: label_kind: number has no such metric, but rmse"):
        recipe(preprocessing={"label_kind": "number"}, evaluation={"gate": {"accuracy": {"min": 1}}})
    with pytest.raises(ValueError, match=r"comparison.metric: label_kind: number has no accuracy"):
        recipe(preprocessing={"label_kind": "number"}, evaluation={"comparison": {"metric": "accuracy"}})
    with pytest.raises(ValueError, match=r"label_smoothing: label_kind: multi has no classes"):
        recipe(preprocessing={"label_kind": "multi"}, smoothing=0.1)
    with pytest.raises(ValueError, match=r"label_kind: number has no classes to list"):
        recipe(preprocessing={"label_kind": "number", "labels": ["a", "b"]})
    gate = TextGate(f1=Bound(min=0.5))
    assert {name for names in METRICS.values() for name in names} == set(type(gate).model_fields)
