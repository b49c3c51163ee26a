"""Evaluation of a model that finds entities: precision, recall and F1 of whole entities, beside a table of words."""

from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.champion.comparison import rows
from modelmill.measures import found, samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.baseline import WordTags
from modelmill.tasks.token_classification.recipe import Recipe
from modelmill.tasks.token_classification.splitting import split
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 64


class Texts(NamedTuple):
    """Texts of one split, whole.

    Attributes:
        words: Words of each text.
        tags: Numbers of their tags: int64, (words,).
        ids: Identity of each text: uint64, (texts,).
        begins: Numbers of the windows that begin a text, (texts,).
    """

    words: list[list[str]]
    tags: list[np.ndarray]
    ids: np.ndarray
    begins: np.ndarray


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's texts.

    An entity is right if kind, first and last word are. The baseline has the tags that each word most often has in
    training.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    model = loading.load_model(step, task, step.inputs[FINE_TUNED]).to(hardware.pick_device()).eval()
    names: list[str] = task.classes
    examples = task.examples("fine_tuning", "test")
    held_out, training = texts_of(examples), texts_of(task.examples("fine_tuning", "train"))
    scores = _whole(_scores(step, task, model, examples), held_out.begins)
    tags = [np.array(bio.decode(one, names), np.int64) for one in scores]
    losses = [-one[np.arange(len(its)), its].sum() for one, its in zip(scores, held_out.tags, strict=True)]
    sizes = np.array([len(one) for one in held_out.tags])
    truth, mine = (_entities(some, names) for some in (held_out.tags, tags))
    kinds = sorted({kind for tag in names if (kind := bio.kind_of(tag))})
    counts = found.counted(truth, mine, kinds)
    of_texts = _of_texts(counts.sum(axis=1))
    right = sum(int((one == its).sum()) for one, its in zip(tags, held_out.tags, strict=True))
    metrics = {
        **found.rates(counts)._asdict(),
        "text_f1": float(of_texts.mean()),
        "accuracy": right / int(sizes.sum()),
        "loss": float(sum(losses)) / int(sizes.sum()),
        "words_kept": _kept(held_out.words, task.words),
    }
    table = _rows(held_out, training, of_texts, np.array(losses), sizes, truth)
    files = {
        found.FILE: found.by_class(counts, kinds, recipe.seed),
        samples.FILE: _shown(recipe.evaluation.samples, held_out.words, truth, mine),
    }
    measured = EvaluationResult(metrics, table, files)
    if not recipe.evaluation.baseline:
        return measured
    known = WordTags(training.words, training.tags, names)
    looked_up = [np.array(known.tag(words), np.int64) for words in held_out.words]
    its = found.counted(truth, _entities(looked_up, names), kinds)
    better = found.f1_better_by(counts.sum(axis=1), its.sum(axis=1), recipe.seed)
    what = "the most frequent tags of each word"
    shares = known.loss(np.concatenate(held_out.tags))
    return measured._replace(
        baselines=(
            Baseline("f1", what, metrics["f1"], least=found.rates(its).f1, better_by=better),
            Baseline("loss", "the shares of the tags", metrics["loss"], most=shares),
        )
    )


def texts_of(examples: Any) -> Texts:
    """Return the texts of a split, each of all its windows."""
    begins = np.flatnonzero(examples.firsts == 0)
    words = _joined([examples.words(number) for number in range(len(examples))], begins)
    tags = _joined([examples.tags(number).tolist() for number in range(len(examples))], begins)
    return Texts(words, [np.array(one, np.int64) for one in tags], examples.ids[begins], begins)


@torch.no_grad()
def _scores(step: Step, task: Any, model: Any, examples: Any) -> list[np.ndarray]:
    """Return the logarithms of the tags' probabilities of each window: float64, (words, tags)."""
    where = hardware.pick_device()
    order = np.argsort(examples.lengths, kind="stable")
    made: list[np.ndarray] = [np.zeros(0)] * len(examples)
    for first in range(0, len(order), BATCH):
        step.progress(first, len(order), "held-out texts")
        chosen = order[first : first + BATCH]
        batch = to_device(examples.batch(chosen), where)
        scores = torch.log_softmax(task.logits_of(model, batch).double(), dim=-1).cpu().numpy()
        for number, its in zip(chosen.tolist(), scores, strict=True):
            made[number] = bio.of_words(its, examples.places(number), task.classes)
    return made


def _whole(scores: list[np.ndarray], begins: np.ndarray) -> list[np.ndarray]:
    return [np.concatenate(scores[a:b]) for a, b in _between(begins, len(scores))]


def _joined(parts: list[list[Any]], begins: np.ndarray) -> list[list[Any]]:
    return [[one for part in parts[a:b] for one in part] for a, b in _between(begins, len(parts))]


def _between(begins: np.ndarray, count: int) -> list[tuple[int, int]]:
    return list(zip(begins.tolist(), [*begins[1:].tolist(), count], strict=True))


def _entities(tags: list[np.ndarray], names: list[str]) -> list[set[found.Place]]:
    """Return the entities of each text as kind and place."""
    each = (bio.entities([names[tag] for tag in its.tolist()]) for its in tags)
    return [{(one.kind, (one.first, one.end)) for one in entities} for entities in each]


def _of_texts(counts: np.ndarray) -> np.ndarray:
    """Return the F1 of each text; 1 where there is no entity and none was found."""
    is_empty = counts[:, found.FOUND] + counts[:, found.TRUE] == 0
    return np.where(is_empty, 1.0, found.f1_of(counts))


def _kept(words: list[list[str]], by: str) -> float:
    """Return the fraction of the words that the served model finds again in texts whose words are joined by spaces."""
    kept, total = 0, 0
    for its in words:
        starts = np.cumsum([0, *(len(word) + 1 for word in its)]).tolist()
        again = {(word.start, word.text) for word in split(" ".join(its), by)}
        kept += sum((start, word) in again for start, word in zip(starts, its, strict=False))
        total += len(its)
    return kept / total


def _rows(
    held_out: Texts,
    training: Texts,
    scores: np.ndarray,
    losses: np.ndarray,
    sizes: np.ndarray,
    truth: list[set[found.Place]],
) -> list[dict[str, Any]]:
    """Return two rows for each text: one of its words, and one of itself."""
    seen = np.isin(held_out.ids, training.ids)
    made = []
    for place, name in enumerate(rows.unique_ids(f"{one:016x}" for one in held_out.ids.tolist())):
        kinds = sorted({kind for kind, _ in truth[place]})
        slices = [f"entity={kind}" for kind in kinds] or ["entity=none"]
        shared = {"example": name, "model": "after", "slices": slices, "contaminated": bool(seen[place])}
        made.append({**shared, "set": "rows", "loss": float(losses[place]), "weight": float(sizes[place])})
        made.append({**shared, "set": "texts", "score": float(scores[place]), "weight": 1.0})
    return made


def _shown(
    most: int, words: list[list[str]], truth: list[set[found.Place]], mine: list[set[found.Place]]
) -> list[samples.Sample]:
    """Return texts that are spread evenly over the test split."""
    places = np.linspace(0, len(words) - 1, min(most, len(words))).round().astype(int).tolist()
    return [
        samples.text(
            text=" ".join(words[place]),
            expected=_in_words(words[place], truth[place]),
            found=_in_words(words[place], mine[place]),
        )
        for place in places
    ]


def _in_words(words: list[str], entities: set[found.Place]) -> str:
    """Return a line for each entity."""
    spans: list[Any] = sorted((where, kind) for kind, where in entities)
    return "\n".join(f"{kind}: {' '.join(words[first:end])}" for (first, end), kind in spans) or "(none)"
