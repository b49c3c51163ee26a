"""Objectives that compare two answers to a prompt, or judge one: DPO, ORPO and KTO."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.models.token_losses import LinearTokenLosses
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import prompt_sharing
from modelmill.tasks.language_modeling.objectives import losses, reference
from modelmill.tasks.language_modeling.objectives.answer_files import FIRST, PROMPT, SECOND
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.tasks.language_modeling.objectives.answer_scores import mismatched, scores
from modelmill.tasks.language_modeling.objectives.settings import NEEDS, LanguageFineTuning
from modelmill.training.device import hardware

MakeRows = Callable[[str], AnswerRows]


class Preferences:
    """Preferences, as the engine trains on them; a term of the loss is a pair, or a labelled answer.

    Attributes:
        unit: What its loss counts.
        notes: What a model's manifest says of it.
        settings: The stage's settings.
        known: Log-probabilities under the reference; None for a loss without one.
    """

    unit: Literal["tokens", "samples"] = "samples"

    def __init__(self, settings: LanguageFineTuning, make_rows: MakeRows, known: reference.Reference | None) -> None:
        """Take the parts.

        Args:
            settings: The stage's settings.
            make_rows: Opens the examples of a split.
            known: Log-probabilities under the reference; None for a loss without one.
        """
        self.settings = settings
        self.notes: dict[str, Any] = {"objective": settings.objective}
        if known is not None:
            self.notes["reference_scores"] = known.digests
        self._make_rows = make_rows
        self.known = known
        self._token_losses = LinearTokenLosses()

    def examples(self, plain: Any, split: str) -> AnswerRows:
        """Return the examples of a split, with their scores under the reference; see `Objective.examples`."""
        rows = self._make_rows(split)
        if self.known is not None:
            rows.reference = self.known.scores.get(split)
        return rows

    def compilable(self) -> list[nn.Module]:
        """Return the modules of the loss that are worth compiling."""
        return [self._token_losses.score]

    def terms(self, batch: Batch) -> int:
        """Return the number of pairs, or of labelled answers."""
        return len(batch["lengths"])

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what else the loss is divided by: for ORPO the tokens of prompts and better answers."""
        return (int((batch["owners"][batch["targets"] >= 0] % 3 != SECOND).sum()),) if self._is("orpo") else ()

    def has_first_pass(self) -> bool:
        """Return whether the loss of a part needs something of the whole batch, which `first_pass` sums up."""
        return self._is("kto")

    def first_pass(self, task: Any, model: Any, batch: Batch) -> torch.Tensor:
        """Return the summed log-ratios of answers to other prompts, a scalar; see `modelmill.tasks.contract`."""
        others = scores(task, model, mismatched(batch), self._token_losses)[:, SECOND]
        return (others - batch["reference"][:, 1]).sum()

    def loss(self, task: Any, model: Any, batch: Batch) -> torch.Tensor:
        """Return the summed loss, a scalar; see `Objective.loss`."""
        found = scores(task, model, batch, self._token_losses)
        settings, lengths = self.settings.preference, batch["lengths"]
        answers = found[:, FIRST:]
        ratios = answers - batch["reference"] if "reference" in batch else answers
        if self._is("dpo"):
            return losses.dpo(ratios, lengths, settings).sum()
        totals = batch["totals"] if "totals" in batch else _own(self, batch)
        if self._is("kto"):
            if "first_pass" in batch:
                summed = batch["first_pass"]
            else:
                with torch.no_grad():
                    summed = self.first_pass(task, model, batch)
            divergence = (summed / totals[0]).clamp(min=0)
            return losses.kto(ratios[:, 0], batch["is_good"], divergence, settings).sum()
        # Tokens are averaged over the whole batch, and so are pairs: each has its own number.
        of_tokens = -(found[:, PROMPT] + found[:, FIRST]).sum() * (totals[0] / totals[1])
        return of_tokens + losses.orpo(answers, lengths, settings).sum()

    def _is(self, objective: str) -> bool:
        return self.settings.objective == objective


def _own(objective: Preferences, batch: Batch) -> torch.Tensor:
    """Return the totals of a batch that is scored by itself, as in validation."""
    return batch["lengths"].new_tensor([objective.terms(batch), *objective.counts(batch)])


def prepare(step: Step, task: Any, model: Any, settings: LanguageFineTuning) -> Preferences:
    """Return the objective of preferences; see `objective.prepare`.

    Raises:
        UserError: The corpus holds no such examples.
    """
    kind, needed = kind_of(task), NEEDS[settings.objective]
    if kind != needed:
        raise UserError(
            f"fine_tuning.objective: {settings.objective} needs a corpus of {needed}, and this is of {kind}"
        )
    shares = settings.objective != "kto" and _can_share(task, model)

    def rows(split: str) -> AnswerRows:
        scores_prompts = settings.objective == "orpo"
        return AnswerRows(task.files, split, needed, task.length, shares=shares, scores_prompts=scores_prompts)

    known = reference.of(step, task, model, settings, rows) if settings.needs_reference else None
    return Preferences(settings, rows, known)


def kind_of(task: Any) -> str:
    """Return what the corpus of a task has for fine-tuning: `pairs`, `conversations`, `preferences` or `labelled`."""
    return str((task.corpus.info.get("frame") or {}).get("kind", "pairs"))


def _can_share(task: Any, model: Any) -> bool:
    return prompt_sharing.is_right(model, task.way, task.vocab_size, task.length, hardware.pick_device())
