"""Evaluation of a translator: chrF and BLEU of held-out texts, beside those of a dictionary."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from modelmill.champion.comparison import rows
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.translation.decoding import translate
from modelmill.tasks.translation.dictionary import Dictionary
from modelmill.tasks.translation.recipe import Recipe
from modelmill.tasks.translation.task import IGNORED, SIDES
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 128


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's translations.

    `chrf` (Popović, 2015, https://aclanthology.org/W15-3049) and `bleu` (Papineni et al., 2002,
    https://aclanthology.org/P02-1040) are sacreBLEU's over the split, `sentence_chrf` is the mean over translations,
    and `loss` is in nats a translation. The baseline is a dictionary, made from the pairs that fine-tuning has seen.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED])).to(hardware.pick_device()).eval()
    training, held_out = (task.examples("fine_tuning", split) for split in ("train", "test"))
    sources, references = (held_out.texts(side) for side in SIDES)
    tokenizer = _tokenizer(task)
    translations: list[str] = []
    losses: list[float] = []
    for first in range(0, len(held_out), BATCH):
        step.progress(first, len(held_out), "held-out texts")
        batch = held_out.batch(np.arange(first, min(first + BATCH, len(held_out))))
        batch = to_device(batch, hardware.pick_device())
        losses += _losses(task, model, batch)
        translations += translate(model, tokenizer, batch["input_ids"])
    each = np.array([_chrf([one], [reference]) for one, reference in zip(translations, references, strict=True)])
    metrics = {
        "chrf": _chrf(translations, references),
        "bleu": _bleu(translations, references),
        "sentence_chrf": float(each.mean()),
        "loss": float(np.mean(losses)),
    }
    table = _rows(sources, each, losses, held_out.ids, set(training.ids.tolist()))
    shown = _shown(recipe.evaluation.samples, sources, references, translations)
    measured = EvaluationResult(metrics, table, {samples.FILE: shown})
    if not recipe.evaluation.baseline:
        return measured
    known = Dictionary(list(zip(*(training.texts(side) for side in SIDES), strict=True)))
    looked_up = [known.translate(source) for source in sources]
    what = "a dictionary"
    return measured._replace(
        baselines=(
            Baseline("chrf", what, metrics["chrf"], least=_chrf(looked_up, references)),
            Baseline("bleu", what, metrics["bleu"], least=_bleu(looked_up, references)),
        )
    )


@torch.no_grad()
def _losses(task: Any, model: Any, batch: Any) -> list[float]:
    logits, labels = task.written(model, batch), batch["labels"]
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
    return [float(one) for one in losses.double().sum(dim=1).cpu()]


def _chrf(translations: list[str], references: list[str]) -> float:
    return float(CHRF().corpus_score(translations, [references]).score)


def _bleu(translations: list[str], references: list[str]) -> float:
    # Many texts have fewer than the four words that BLEU's longest n-gram takes, but the whole split has all orders.
    return float(BLEU().corpus_score(translations, [references]).score)


def _tokenizer(task: Any) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(task.files["tokenizer/tokenizer.json"]))


def _rows(
    sources: list[str], scores: np.ndarray, losses: list[float], ids: np.ndarray, trained_on: set[int]
) -> list[dict[str, Any]]:
    names = rows.unique_ids(f"{one:016x}" for one in ids.tolist())
    return [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": [f"words={_words(source)}"],
            "loss": loss,
            "weight": 1.0,
            "score": float(score),
            "contaminated": int(one) in trained_on,
        }
        for name, source, score, loss, one in zip(names, sources, scores, losses, ids, strict=True)
    ]


def _words(text: str) -> str:
    count = len(text.split())
    return "one" if count == 1 else "two" if count == 2 else "three or more"


def _shown(most: int, sources: list[str], references: list[str], translations: list[str]) -> list[samples.Sample]:
    """Return translations that are spread evenly over the test split."""
    places = np.linspace(0, len(sources) - 1, min(most, len(sources))).round().astype(int)
    return [
        samples.text(source=sources[place], reference=references[place], translation=translations[place])
        for place in places.tolist()
    ]
