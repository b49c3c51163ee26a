"""Evaluation of a recommender: the rank of each user's last interaction in the whole catalogue, and baselines."""

import json
from typing import Any

import numpy as np
import torch

from modelmill.champion.comparison import rows
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.recommendation import ranking
from modelmill.tasks.recommendation.ranking import KnownItems, Ranked
from modelmill.tasks.recommendation.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware

# The share of the catalogue, in its order, that is its head; and the items of a history that the report shows.
HEAD, SHOWN = 0.2, 10


class HeldOutRanks:
    """A model's ranks of each user's held-out item.

    Attributes:
        losses: Loss of the held-out item in nats, float64, (users,).
        confidences: Probability of the item that is ranked first, float64, (users,).
        ranked: The ranks.
    """

    def __init__(self, known: KnownItems, model: torch.nn.Module, examples: Any) -> None:
        """Rank the catalogue for every user.

        Args:
            known: The histories.
            model: The network.
            examples: The test split, a row a user.
        """
        self.losses, self.confidences = np.zeros(len(examples)), np.zeros(len(examples))
        self._examples, self._model, self._known = examples, model, known
        self._device = next(model.parameters()).device
        self.ranked: Ranked = ranking.rank(known, self._score)

    @torch.no_grad()
    def _score(self, users: np.ndarray, place: int) -> np.ndarray:
        scores = self._model(self._examples.batch(users)["items"].to(self._device)).double()
        logarithms = torch.log_softmax(scores, dim=1).cpu().numpy()
        self.losses[users] = -logarithms[np.arange(len(users)), self._known.held_out(users, place) - 1]
        self.confidences[users] = np.exp(logarithms.max(axis=1))
        return logarithms


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the ranks of each user's last item.

    `recall` and `ndcg` are at 10 and means over users, of the final model; `ndcg_before` is of the pretrained model,
    where it was fine-tuned.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.evaluation
    catalogue = json.loads(task.files["catalogue.json"].read_bytes())["items"]
    offsets, items = (np.load(task.files[f"histories.{name}.npy"], allow_pickle=False) for name in ("offsets", "items"))
    known = KnownItems(items, offsets, len(catalogue))
    held_out = task.examples("fine_tuning", "test")
    pretrained, tuned = step.inputs[PRETRAINED], step.inputs[FINE_TUNED]
    was_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"
    described = _described(held_out.ids, known, catalogue)

    step.progress(0, 3, "ranking")
    after = HeldOutRanks(known, _load(step, task, tuned), held_out)
    metrics = {"recall": float(after.ranked.hits.mean()), "ndcg": float(after.ranked.gains.mean())}
    table = _rows(described, after, catalogue, "after")
    if pretrained.entries and was_tuned:
        step.progress(1, 3, "ranking, before fine-tuning")
        before = HeldOutRanks(known, _load(step, task, pretrained), held_out)
        metrics["ndcg_before"] = float(before.ranked.gains.mean())
        table += _rows(described, before, catalogue, "before")
    step.progress(2, 3, "baselines")
    baselines = _baselines(known, metrics) if settings.baseline else ()
    shown = _samples(known, after.ranked, catalogue, settings.samples)
    return EvaluationResult(metrics, table, {samples.FILE: shown}, baselines)


def _load(step: Step, task: Any, model: Manifest) -> torch.nn.Module:
    loaded: torch.nn.Module = task.load(loading.fetch_model(step, model))
    return loaded.to(hardware.pick_device()).eval()


def _baselines(known: KnownItems, metrics: dict[str, float]) -> tuple[Baseline, ...]:
    baselines = []
    for what, make in (("the most popular", ranking.popularity), ("item-kNN by cosine", ranking.item_knn)):
        ranked = ranking.rank(known, make(known))
        for name, values in (("recall", ranked.hits), ("ndcg", ranked.gains)):
            baselines.append(Baseline(name, what, metrics[name], least=float(values.mean())))
    return tuple(baselines)


def _described(ids: np.ndarray, known: KnownItems, catalogue: list[str]) -> list[dict[str, Any]]:
    """Return the columns of a row that are the same for every model.

    A third of the users each has a short, a middling and a long history.
    """
    lengths = np.diff(known.offsets) - 1
    middling, long = np.quantile(lengths, [1 / 3, 2 / 3], method="higher")
    targets = known.held_out(np.arange(len(lengths)), 1)
    named = rows.unique_ids(f"{one:016x}" for one in ids.tolist())
    return [
        {
            "example": name,
            "set": "rows",
            "slices": [
                f"history={'short' if length < middling else 'middling' if length < long else 'long'}",
                f"item={'head' if target <= HEAD * len(catalogue) else 'tail'}",
            ],
            "weight": 1.0,
            "label": catalogue[target - 1],
            "contaminated": False,
        }
        for name, length, target in zip(named, lengths.tolist(), targets.tolist(), strict=True)
    ]


def _rows(
    described: list[dict[str, Any]], ranks: HeldOutRanks, catalogue: list[str], when: str
) -> list[dict[str, Any]]:
    hits, gains = ranks.ranked.hits, ranks.ranked.gains
    return [
        {
            **row,
            "model": when,
            "loss": float(ranks.losses[user]),
            "score": float(gains[user]),
            "correct": bool(hits[user]),
            "prediction": catalogue[ranks.ranked.first[user, 0] - 1],
            "confidence": float(ranks.confidences[user]),
        }
        for user, row in enumerate(described)
    ]


def _samples(known: KnownItems, ranked: Ranked, catalogue: list[str], count: int) -> list[samples.Sample]:
    """Return ranked lists of users that are spread evenly over all."""
    users = np.unique(np.linspace(0, len(known.offsets) - 2, count).astype(np.int64))
    shown = []
    for user in users.tolist():
        history = known.items[known.offsets[user] : known.offsets[user + 1]]
        given, ranks = history[:-1][-SHOWN:], ranked.first[user]
        shown.append(
            samples.ranking(
                given=[catalogue[n - 1] for n in given],
                ranked=[catalogue[n - 1] for n in ranks],
                expected=catalogue[history[-1] - 1],
            )
        )
    return shown
