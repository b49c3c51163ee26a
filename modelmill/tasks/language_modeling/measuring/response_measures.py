"""What is measured of the responses of pairs and of conversations, before and after fine-tuning."""

import math
from typing import Any

from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline
from modelmill.measures.samples import Sample
from modelmill.tasks.language_modeling.evaluation_settings import LanguageEvaluation
from modelmill.tasks.language_modeling.measuring import baselines, examples, responses
from modelmill.tasks.language_modeling.measuring.answering import answers
from modelmill.tasks.language_modeling.measuring.examples import Row
from modelmill.tasks.language_modeling.measuring.speaking import Said, Speaker


class ResponseMeasures:
    """Losses of held-out responses, calls of tools, and samples; models are measured one after the other."""

    def __init__(self, task: Any, settings: LanguageEvaluation, kind: str) -> None:
        """Read the held-out examples.

        Args:
            task: The task, as `make_task` returns it.
            settings: The recipe's section.
            kind: `pairs` or `conversations`.
        """
        self._task = task
        self._settings = settings
        self._held_out = responses.read(task, kind == "conversations")
        self._tokenizer = examples.tokenizer_of(task)
        talks = self._held_out.talks
        self._speaker = Speaker(task, self._held_out, self._tokenizer, settings) if talks else None
        self._said: dict[str, Said] = {}
        self._samples: list[Sample] = []

    def measure(self, model: Any, when: str) -> list[Row]:
        """Return the rows of a model; what it says is kept for the samples.

        Args:
            model: The model.
            when: Name of the model: `before` or `after` fine-tuning.
        """
        rows = responses.rows_of(self._task, model, self._held_out, when, self._settings.pair_windows)
        if self._speaker is not None:
            self._said[when] = self._speaker.speak(model)
            rows += self._speaker.call_rows(self._said[when], when)
        elif when == "after":
            self._samples = self._pairs(model)
        return rows

    def metrics(self, before: list[Row], after: list[Row]) -> dict[str, float]:
        """Return the metrics.

        Args:
            before: Rows of the model before fine-tuning; none if it was not measured.
            after: Rows of the fine-tuned model.
        """
        was, mine = ([row for row in rows if row["set"] == "pairs"] for rows in (before, after))
        nats = _total(mine, "loss")
        metrics = {"loss_before": _total(was, "loss") / max(1, _total(was, "weight"))} if was else {}
        metrics["loss_after"] = nats / max(1, _total(mine, "weight"))
        metrics["response_bits_per_byte"] = nats / math.log(2) / max(1, _total(mine, "bytes"))
        for when, rows in (("_before", before), ("", after)):
            calls = [row for row in rows if row["set"] == "tool_calls"]
            if calls:
                metrics[f"tool_calls_parse{when}"] = _total(calls, "score") / len(calls)
                metrics[f"tool_calls_match{when}"] = _total(calls, "correct") / len(calls)
        return metrics

    def baselines(self, before: list[Row], after: list[Row], metrics: dict[str, float]) -> list[Baseline]:
        """Return the baselines that the model must beat.

        Args:
            before: Rows of the model before fine-tuning; none if it was not measured.
            after: Rows of the fine-tuned model.
            metrics: What `metrics` returns.
        """
        was, mine = ([row for row in rows if row["set"] == "pairs"] for rows in (before, after))
        if not self._settings.documents:
            order = self._settings.ngram_order
            return baselines.of_responses(self._task, self._held_out.described, was, mine, order)
        if not was:
            return []
        return [Baseline("loss_after", "before fine-tuning", metrics["loss_after"], most=metrics["loss_before"])]

    def samples(self) -> list[Sample]:
        """Return the samples, when all models are measured."""
        if self._speaker is None:
            return self._samples
        return self._speaker.samples(self._said.get("before", {}), self._said["after"])

    def _pairs(self, model: Any) -> list[Sample]:
        """Return the model's greedy responses to the first held-out prompts, beside the true ones."""
        runs, shown = self._held_out.runs, []
        count = min(self._settings.samples, len(runs.tokens))
        prompts = [
            examples.tokens_of(self._held_out.windows, int(runs.documents[n]))[: runs.begins[n]].tolist()
            for n in range(count)
        ]
        asked = [(prompt, self._settings.sample_tokens) for prompt in prompts]
        for n, said in enumerate(answers(self._task, model, asked)):
            parts = {"prompt": prompts[n], "expected": runs.tokens[n].tolist(), "generated": said}
            shown.append(samples.text(**{name: self._tokenizer.decode(ids) for name, ids in parts.items()}))
        return shown


def _total(rows: list[Row], column: str) -> float:
    return math.fsum(row[column] for row in rows)
