"""What is measured of preferences and of labelled answers, before and after fine-tuning."""

import math
from typing import Any

from modelmill.measures import breakdown, samples
from modelmill.measures.evaluation_result import Baseline
from modelmill.measures.samples import Sample
from modelmill.recipe.measure import Measure
from modelmill.tasks.language_modeling.evaluation_settings import LanguageEvaluation
from modelmill.tasks.language_modeling.measuring import examples, preferences
from modelmill.tasks.language_modeling.measuring.answering import answers
from modelmill.tasks.language_modeling.measuring.examples import Row
from modelmill.tasks.language_modeling.objectives.answer_files import PROMPT, Kind


class PreferenceMeasures:
    """Margins of held-out answers, and samples; models are measured one after the other."""

    def __init__(self, task: Any, settings: LanguageEvaluation, kind: Kind, compared: tuple[str, Measure]) -> None:
        """Read the held-out examples.

        Args:
            task: The task, as `make_task` returns it.
            settings: The recipe's section.
            kind: `preferences` or `labelled`.
            compared: The metric that must be better than before fine-tuning, and its measure.
        """
        self._task = task
        self._settings = settings
        self._compared = compared
        self._kind = kind
        self._held_out = preferences.read(task, kind)
        self._tokenizer = examples.tokenizer_of(task)
        self._said: dict[str, list[list[int]]] = {}

    def measure(self, model: Any, when: str) -> list[Row]:
        """Return the rows of a model; what it says is kept for the samples.

        Args:
            model: The model.
            when: Name of the model: `before` or `after` fine-tuning.
        """
        rows = preferences.rows_of(self._task, model, self._held_out, when, self._settings.pair_windows)
        count = min(self._settings.samples, len(self._held_out.texts))
        prompts = [self._held_out.files.part(n, PROMPT)[0].tolist() for n in range(count)]
        asked = [(prompt, self._settings.sample_tokens) for prompt in prompts]
        self._said[when] = answers(self._task, model, asked)
        return rows

    def metrics(self, before: list[Row], after: list[Row]) -> dict[str, float]:
        """Return the metrics; see `preferences.rows_of`.

        Args:
            before: Rows of the model before fine-tuning; none if it was not measured.
            after: Rows of the fine-tuned model.
        """
        metrics: dict[str, float] = {}
        for when, rows in (("_before", before), ("", after)):
            judged = [row for row in rows if row["set"] == self._kind]
            if not judged:
                continue
            margin = math.fsum(row["score"] for row in judged) / len(judged)
            if self._kind == "labelled":
                metrics[f"label_margin{when}"] = margin
            else:
                metrics[f"preference_margin{when}"] = margin
                metrics[f"preference_accuracy{when}"] = sum(row["correct"] for row in judged) / len(judged)
        if before and self._kind == "preferences":
            metrics["reward_accuracy"] = preferences.risen(before, after)
        good = [row for row in after if row["set"] == "pairs"]
        if good:
            nats, size = (math.fsum(row[column] for row in good) for column in ("loss", "bytes"))
            metrics["response_bits_per_byte"] = nats / math.log(2) / max(1, size)
        return metrics

    def baselines(self, before: list[Row], after: list[Row], metrics: dict[str, float]) -> list[Baseline]:
        """Return the baseline that the model must beat: what it was before fine-tuning, by more than chance.

        Args:
            before: Rows of the model before fine-tuning; none if it was not measured.
            after: Rows of the fine-tuned model.
            metrics: What `metrics` returns.
        """
        metric, measure = self._compared
        part = breakdown.whole(metric, measure, before, after)
        if part is None or part["before"] is None:
            return []
        bound = {"least" if measure.higher_is_better else "most": part["before"]}
        interval = tuple(part["better_by"])
        return [Baseline(metric, "before fine-tuning", part["after"], **bound, better_by=interval)]

    def samples(self) -> list[Sample]:
        """Return the samples, when all models are measured."""
        names = ("chosen", "rejected") if self._kind == "preferences" else ("good", "bad")
        shown = []
        for n, one in enumerate(self._held_out.texts[: self._settings.samples]):
            versions = {name: text for name, text in zip(names, one[1:], strict=True) if text}
            versions |= {when: self._tokenizer.decode(said[n]) for when, said in self._said.items()}
            messages = [samples.message("prompt", one.prompt), samples.answers("assistant", versions)]
            shown.append(samples.conversation(messages, []))
        return shown
