"""Distillation: responses are learned from a larger model's distribution over each of their tokens."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from modelmill.models import distillation
from modelmill.models.cross_entropy import IGNORED
from modelmill.models.distillation import Known
from modelmill.recipe.sections import TEACHER as KEY
from modelmill.recipe.step_specs import TEACHER
from modelmill.runtime import weights
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.objectives import teacher
from modelmill.tasks.language_modeling.objectives.settings import Distillation, LanguageFineTuning
from modelmill.tasks.language_modeling.objectives.teacher import Shard
from modelmill.training.device import hardware

if TYPE_CHECKING:
    from modelmill.runtime.step_runtime import Step

SPLITS = ("train", "validation")


def prepare(step: "Step", task: Any, settings: LanguageFineTuning) -> "Distilled":
    """Return the objective, with what the teacher makes of the corpus; see `objective.prepare`.

    Raises:
        UserError: The teacher is not there, is no causal language model, has changed or has another vocabulary.
    """
    wanted = settings.distillation
    assert wanted.teacher is not None

    def load() -> tuple[Any, Any]:
        folder = weights.locate(KEY, wanted.teacher or "", step.store)
        weights.require_digest(f"{KEY}: {wanted.teacher}", folder, step.digests[TEACHER])
        its_task = type(task)(task.corpus, task.files, None)
        its_task.key = KEY
        device = hardware.pick_device()
        model = its_task.load(folder).to(device).eval()
        return (model.float() if device.type == "cpu" else model), its_task

    made_with = {
        "teacher": step.digests[TEACHER],
        "top_k": min(wanted.top_k, task.vocab_size),
        "temperature": wanted.temperature,
    }
    splits = [task.examples("fine_tuning", split) for split in SPLITS]
    shards = teacher.of_corpus(step, task, splits, made_with, load)
    return Distilled(wanted, shards, weights.origin_of(KEY, wanted.teacher, step.store))


class Distilled:
    """The objective; see `objective.Objective`."""

    unit: Literal["tokens", "samples"] = "tokens"

    def __init__(self, settings: Distillation, shards: dict[str, Shard], origin: dict[str, str]) -> None:
        """Take what the teacher has made.

        Args:
            settings: The recipe's section.
            shards: What the teacher makes of each shard of the corpus, by the stem of its files.
            origin: Source, revision, licence and digest of the teacher.
        """
        self.settings = settings
        self.shards = shards
        self.notes: dict[str, Any] = {"teacher": origin}

    def examples(self, plain: Any, split: str) -> Any:
        """Return the examples of a split, with what is known of the teacher; the test split is as it is."""
        return Taught(plain, self.shards) if split in SPLITS else plain

    def compilable(self) -> list[nn.Module]:
        """Return the modules of the loss that are worth compiling: none."""
        return []

    def terms(self, batch: Batch) -> int:
        """Return the number of labels that count."""
        return int((batch["labels"] != IGNORED).sum())

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what the loss is divided by beside its terms: nothing."""
        return ()

    def has_first_pass(self) -> bool:
        """Return whether the loss of a part needs a sum over the whole batch: it does not."""
        return False

    def first_pass(self, task: Any, model: Any, batch: Batch) -> torch.Tensor:
        """Return a part's contribution to such a sum: none."""
        return torch.zeros((), device=batch["labels"].device)

    def loss(self, task: Any, model: Any, batch: Batch) -> torch.Tensor:
        """Return the summed loss in nats."""
        labels = ways.chosen(batch["labels"].flatten(), batch)
        known = Known(*(batch[f"teacher_{name}"] for name in Known._fields))
        counted = ways.chosen(batch["weights"].flatten(), batch) if "weights" in batch else None
        how = self.settings.temperature, self.settings.weight, counted
        if not ways.takes_plain_head(task.way, model):
            logits = ways.chosen(ways.logits(task.way, model, batch).flatten(0, 1), batch)
            return distillation.of_logits(logits, labels, known, *how)
        hidden = ways.chosen(task.hidden(model, batch).flatten(0, 1), batch)
        return distillation.loss(hidden, model.get_output_embeddings().weight, labels, known, *how)


class Taught:
    """Packed windows with what is known of the teacher.

    A batch also has `teacher_tokens`, int64, (places, k), `teacher_logs`, fp32, (places, k), and `teacher_rest`, fp32,
    (places,). The places are those of `learned`, if the batch has them, else all.
    """

    lengths: np.ndarray | None = None

    def __init__(self, plain: Any, shards: dict[str, Shard]) -> None:
        """Take the windows as they are.

        Args:
            plain: The windows.
            shards: What the teacher makes of each shard, by the stem of its files.
        """
        self.plain = plain
        self.shards = shards

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.plain)

    def describe(self, indices: np.ndarray) -> str:
        """Return where these windows come from, for a person: the first few of them."""
        words: str = self.plain.describe(indices)
        return words

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        batch: Batch = self.plain.batch(indices)
        places = torch.nonzero(batch["labels"].flatten() != IGNORED).flatten()
        size = batch["labels"].numel()
        if "learned" in batch:  # first the places that count, in order
            places, size = torch.arange(len(places)), len(batch["learned"])
        windows = [self._of_window(int(index)) for index in indices]
        for name, parts in zip(Known._fields, zip(*windows, strict=True), strict=True):
            values = torch.from_numpy(np.concatenate(parts))
            filled = values.new_zeros(size, *values.shape[1:])
            filled[places] = values
            batch[f"teacher_{name}"] = filled
        return batch

    def _of_window(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens, their logarithms and that of the rest for a window's learned places."""
        which = int(np.searchsorted(self.plain.first, number, side="right")) - 1
        shard, window = self.shards[self.plain.shards[which].stem], number - int(self.plain.first[which])
        rows = slice(*shard.windows[window : window + 2].tolist())
        return shard.tokens[rows].astype(np.int64), np.array(shard.logs[rows]), np.array(shard.rest[rows])
