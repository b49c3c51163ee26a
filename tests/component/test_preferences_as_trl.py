"""TRL as oracle: with the same weights and batch, losses and gradients of preferences agree to 1e-5 in fp32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.tasks.language_modeling.objectives import answer_scores
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.tasks.language_modeling.objectives.preferences import Preferences
from modelmill.tasks.language_modeling.objectives.reference import Reference
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning
from tests import preferences
from tests.component.registrations import write_language_model
from tests.preferences import LENGTH, Example

pytest.importorskip("trl")

PAIRS = 5
TEXTS = {"prompt": ["def"], "chosen": [" area"], "rejected": [" volume"]}


def arguments(kind: Any, folder: Path, **others: Any) -> Any:
    quiet = {"report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
    return kind(output_dir=str(folder), per_device_train_batch_size=PAIRS, **quiet, **others)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer, which TRL's trainers ask for; what they are given here is tokenized."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer") / "model"
    folder.mkdir()
    write_language_model(folder)
    return AutoTokenizer.from_pretrained(folder)


class Ours:
    """A model with the reference, and the loss of one batch with all examples."""

    def __init__(self, folder: Path, objective: str, **preference: Any) -> None:
        kind = "labelled" if objective == "kto" else "preferences"
        drawn = preferences.drawn(PAIRS, seed=3)
        self.examples = preferences.labelled(drawn) if kind == "labelled" else drawn
        files = preferences.write(folder, {"train": self.examples}, shards=1)
        self.task = preferences.task_over(files, kind)
        self.model, self.reference = (preferences.stirred(self.task, seed).eval() for seed in (1, 7))
        keys = {"steps": 1, "learning_rate": 1.0, "objective": objective, "preference": preference}
        is_orpo = objective == "orpo"

        def rows(split: str) -> AnswerRows:
            return AnswerRows(files, split, kind, LENGTH, shares=True, scores_prompts=is_orpo)  # type: ignore[arg-type]

        scores = {"train": answer_scores.of_split(self.task, self.reference, rows("train"))}
        known = None if is_orpo or preference.get("reference_free") else Reference(scores, {})
        self.task.objective = Preferences(LanguageFineTuning.model_validate(keys), rows, known)

    def loss(self) -> torch.Tensor:
        examples = self.task.examples("fine_tuning", "train")
        batch = examples.batch(np.arange(len(examples)))
        return self.task.loss(self.model, batch) / self.task.terms(batch)

    def agrees_with(self, theirs: torch.Tensor) -> None:
        """Check that both losses and their gradients by every weight agree."""
        weights = list(self.model.parameters())
        mine = self.loss()
        assert mine.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-5)
        for a, b in zip(torch.autograd.grad(mine, weights), torch.autograd.grad(theirs, weights), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, b.abs().max().item()))


def dpo_batch(examples: list[Example]) -> dict[str, torch.Tensor]:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    made: dict[str, torch.Tensor] = DataCollatorForPreference(pad_token_id=0)(
        [dict(zip(names, one, strict=True)) for one in examples]
    )
    return made


@pytest.mark.parametrize(
    ("loss", "preference"),
    [
        ("sigmoid", {}),
        ("hinge", {"loss": "hinge"}),
        ("ipo", {"loss": "ipo"}),
        ("sigmoid_norm", {"length_normalised": True}),
    ],
)
def test_dpo_is_trls(tmp_path: Path, tokenizer: Any, loss: str, preference: dict[str, Any]) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    ours = Ours(tmp_path, "dpo", beta=0.3, **preference)
    settings = arguments(DPOConfig, tmp_path, beta=0.3, loss_type=[loss])
    data = Dataset.from_dict(TEXTS)
    trainer = DPOTrainer(ours.model, ours.reference, settings, train_dataset=data, processing_class=tokenizer)
    ours.agrees_with(trainer.compute_loss(trainer.model, dpo_batch(ours.examples)))


def test_smoothed_dpo_is_trls_aot_of_one_pair_at_a_time(tmp_path: Path, tokenizer: Any) -> None:
    """TRL has the conservative loss under that name, after sorting; its `robust` divides by what is left."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    ours = Ours(tmp_path, "dpo", beta=0.3, label_smoothing=0.2)
    settings = arguments(DPOConfig, tmp_path, beta=0.3, loss_type=["aot"], label_smoothing=0.2)
    data = Dataset.from_dict(TEXTS)
    trainer = DPOTrainer(ours.model, ours.reference, settings, train_dataset=data, processing_class=tokenizer)
    each = [trainer.compute_loss(trainer.model, dpo_batch([one])) for one in ours.examples]
    ours.agrees_with(torch.stack(each).mean())


def test_dpo_without_a_reference_is_that_of_a_reference_that_finds_all_answers_equally_likely(tmp_path: Path) -> None:
    free, bound = Ours(tmp_path / "a", "dpo", reference_free=True), Ours(tmp_path / "b", "dpo")
    rows = bound.task.objective._make_rows("train")  # type: ignore[union-attr]
    bound.task.objective._known = Reference({"train": np.zeros((len(rows.files), 2), np.float32)}, {})  # type: ignore[union-attr]
    assert free.loss().item() == pytest.approx(bound.loss().item(), rel=1e-6)


def test_orpo_is_trls(tmp_path: Path, tokenizer: Any) -> None:
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    ours = Ours(tmp_path, "orpo", beta=0.4)
    settings = arguments(ORPOConfig, tmp_path, beta=0.4, max_length=LENGTH)
    tokenizer.pad_token = tokenizer.eos_token
    trainer = ORPOTrainer(ours.model, settings, train_dataset=Dataset.from_dict(TEXTS), processing_class=tokenizer)
    batch = {}
    for number, name in enumerate(("chosen", "rejected"), start=1):
        rows = [(one[0] + one[number], [-100] * len(one[0]) + one[number]) for one in ours.examples]
        longest = max(len(tokens) for tokens, _ in rows)
        parts = {"input_ids": (0, 0), "labels": (1, -100)}
        for part, (place, filler) in parts.items():
            padded = [row[place] + [filler] * (longest - len(row[place])) for row in rows]
            batch[f"{name}_{part}"] = torch.tensor(padded)
        mask = [[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens, _ in rows]
        batch[f"{name}_attention_mask"] = torch.tensor(mask)
    ours.agrees_with(trainer.get_batch_loss_metrics(trainer.model, batch)[0])


def test_kto_is_trls(tmp_path: Path, tokenizer: Any) -> None:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    ours = Ours(tmp_path, "kto", beta=0.3, good_weight=1.5, bad_weight=0.7)
    settings = arguments(KTOConfig, tmp_path, beta=0.3, desirable_weight=1.5, undesirable_weight=0.7)
    two = {"prompt": ["def", "def"], "completion": [" area", " volume"], "label": [True, False]}
    trainer = KTOTrainer(
        ours.model, ours.reference, settings, train_dataset=Dataset.from_dict(two), processing_class=tokenizer
    )
    answers = [a or b for _, a, b in ours.examples]
    rows = [
        {"prompt_ids": p, "completion_ids": answers[n], "KL_completion_ids": answers[n - 1], "label": bool(a)}
        for n, (p, a, _) in enumerate(ours.examples)
    ]
    batch = DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    ours.agrees_with(trainer.compute_loss(trainer.model, batch))
