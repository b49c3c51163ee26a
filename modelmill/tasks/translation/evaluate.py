"""Evaluation of a translator: chrF and BLEU of held-out texts, beside those of a dictionary."""

import logging
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from modelmill.champion.comparison import rows
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.sources.layout import GENERATION
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.translation import generating
from modelmill.tasks.translation.decoding import translate, write
from modelmill.tasks.translation.dictionary import Dictionary
from modelmill.tasks.translation.pair_examples import PairExamples
from modelmill.tasks.translation.recipe import Recipe
from modelmill.tasks.translation.sides import SIDES
from modelmill.tasks.translation.task import IGNORED
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

log = logging.getLogger("modelmill")
# Texts, or beams of texts, that are written at a time.
BATCH = 128
# The most pairs that the dictionary is made of, where a checkpoint is held against it.
DICTIONARY_PAIRS = 20_000


class Written(NamedTuple):
    """What a model has made of the held-out texts, each by their number.

    Attributes:
        sources: The texts.
        references: Their translations in the data.
        translations: Those of the model.
        losses: Loss of each reference in nats.
    """

    sources: list[str]
    references: list[str]
    translations: list[str]
    losses: list[float]


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
    written = (_checkpoint_writes if is_checkpoint(task) else _we_write)(step, task, model, held_out)
    sources, references, translations, losses = written
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
    known = Dictionary(list(zip(*_known_pairs(task, training), strict=True)))
    looked_up = [known.translate(source) for source in sources]
    what = "a dictionary"
    return measured._replace(
        baselines=(
            Baseline("chrf", what, metrics["chrf"], least=_chrf(looked_up, references)),
            Baseline("bleu", what, metrics["bleu"], least=_bleu(looked_up, references)),
        )
    )


def is_checkpoint(task: Any) -> bool:
    """Return whether a checkpoint decides what a task's network is."""
    return bool(task.corpus.info.get("model") == AUTO)


def _we_write(step: Step, task: Any, model: Any, held_out: Any) -> Written:
    sources, references = _texts(held_out)
    tokenizer = _tokenizer(task)
    translations: list[str] = []
    losses: list[float] = []
    for first in range(0, len(held_out), BATCH):
        step.progress(first, len(held_out), "held-out texts")
        batch = held_out.batch(np.arange(first, min(first + BATCH, len(held_out))))
        batch = to_device(batch, hardware.pick_device())
        losses += _losses(task, model, batch)
        translations += translate(model, tokenizer, batch["input_ids"])
    return Written(sources, references, translations, losses)


def _checkpoint_writes(step: Step, task: Any, model: Any, held_out: PairExamples) -> Written:
    """Return what a checkpoint writes, texts of like length together."""
    decoder = task.decoder()
    order = np.argsort(held_out.source_lengths, kind="stable")
    translations, losses = [""] * len(order), [0.0] * len(order)
    at_once = max(1, BATCH // (model.generation_config.num_beams or 1))
    log.info("translations are written %s, as %s says", generating.said(model), GENERATION)
    for first in range(0, len(order), at_once):
        step.progress(first, len(order), "held-out texts")
        some = order[first : first + at_once]
        batch = to_device(held_out.batch(some), hardware.pick_device())
        texts = write(model, decoder, batch["input_ids"], batch["attention_mask"])
        for index, text, loss in zip(some.tolist(), texts, _losses(task, model, batch), strict=True):
            translations[index], losses[index] = text, loss
    return Written(*_texts(held_out), translations, losses)


def _known_pairs(task: Any, training: Any) -> tuple[list[str], list[str]]:
    """Return sources and translations for the dictionary, spread evenly over the pairs of a large corpus."""
    if not is_checkpoint(task):
        return _texts(training)
    some = np.unique(np.linspace(0, len(training) - 1, min(DICTIONARY_PAIRS, len(training))).round().astype(int))
    return training.texts("source", some), training.texts("target", some)


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


def _texts(examples: Any) -> tuple[list[str], list[str]]:
    """Return the sources and the translations of examples."""
    every = np.arange(len(examples))
    sources, targets = (examples.texts(side, every) for side in SIDES)
    return sources, targets


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
