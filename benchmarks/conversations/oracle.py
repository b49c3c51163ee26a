"""TRL as oracle: losses and gradients of a tiny decoder in fp32, with the same weights and batch."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.conversations.data import Preferred, Talk, packed, sided
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.objectives import answer_scores
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.tasks.language_modeling.objectives.preferences import Preferences
from modelmill.tasks.language_modeling.objectives.reference import Reference
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.task import LanguageModeling

VOCABULARY, LENGTH, EXAMPLES = 64, 48, 5
# Weights of this size make losses that differ from example to example.
SIZE = 0.3


class Difference(NamedTuple):
    """How far ours is from TRL's.

    Attributes:
        loss: Of the loss.
        gradient: Of any weight's gradient, as a fraction of the largest one of its matrix, if that is more than 1.
    """

    loss: float
    gradient: float


class Ours:
    """A model, its reference, and the loss of one batch with all examples."""

    def __init__(self, folder: Path, objective: str, **preference: Any) -> None:
        """Draw weights and examples.

        Args:
            folder: Folder to write the examples into.
            objective: As in a recipe.
            **preference: Settings of `fine_tuning.preference`.
        """
        self.examples = _drawn()
        is_kto = objective == "kto"
        kind = "labelled" if is_kto else "pairs" if objective == "sft" else "preferences"
        if is_kto:
            numbered = enumerate(self.examples)
            self.examples = [Preferred(p, a if n % 2 else [], [] if n % 2 else b) for n, (p, a, b) in numbered]
        pairs = [Talk(p + a, [0] * len(p) + [1] * len(a)) for p, a, _ in self.examples]
        arrays = packed(pairs, 0, LENGTH) if kind == "pairs" else sided(self.examples, 0)
        files = {f"train/00000.pairs.{name}.npy": folder / f"{name}.npy" for name in arrays}
        for file, array in zip(files.values(), arrays.values(), strict=True):
            np.save(file, array, allow_pickle=False)
        info = {"sequence_length": LENGTH, "vocab_size": VOCABULARY, "end_of_text": 0, "frame": {"kind": kind}}
        shape = DecoderModel(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        self.task = LanguageModeling(Manifest(kind="corpus", info=info), files, shape)
        self.model, self.reference = (_stirred(self.task, seed).eval() for seed in (1, 2))
        if objective != "sft":
            keys = {"steps": 1, "learning_rate": 1.0, "objective": objective, "preference": preference}
            self._prefer(files, LanguageFineTuning.model_validate(keys), kind)

    def _prefer(self, files: dict[str, Path], settings: LanguageFineTuning, kind: Any) -> None:
        is_orpo = settings.objective == "orpo"

        def rows(split: str) -> AnswerRows:
            return AnswerRows(files, split, kind, LENGTH, shares=True, scores_prompts=is_orpo)

        scores = {"train": answer_scores.of_split(self.task, self.reference, rows("train"))}
        known = Reference(scores, {}) if settings.needs_reference else None
        self.task.objective = Preferences(settings, rows, known)

    def loss(self) -> torch.Tensor:
        """Return the mean loss of all examples."""
        examples = self.task.examples("fine_tuning", "train")
        batch = examples.batch(np.arange(len(examples)))
        return self.task.loss(self.model, batch) / self.task.terms(batch)

    def difference(self, theirs: torch.Tensor) -> Difference:
        """Return how far a loss of the same weights is from ours.

        Args:
            theirs: The loss, with its graph.
        """
        weights, mine = list(self.model.parameters()), self.loss()
        both = zip(*(torch.autograd.grad(loss, weights) for loss in (mine, theirs)), strict=True)
        gradient = max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in both)
        return Difference(abs(mine.item() - theirs.item()), gradient)


def _drawn() -> list[Preferred]:
    random = np.random.default_rng(3)
    sizes = random.integers(2, 14, (EXAMPLES, 3)).tolist()
    return [Preferred(*(random.integers(1, VOCABULARY, size).tolist() for size in one)) for one in sizes]


def _stirred(task: LanguageModeling, seed: int) -> Any:
    torch.manual_seed(seed)
    model = task.build()
    for weight in model.parameters():
        nn.init.normal_(weight, 0.0 if weight.ndim > 1 else 1.0, SIZE)
    return model


def responses(folder: Path) -> Difference:
    """Return the difference of `sft` from SFTTrainer: packed windows against padded rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    ours = Ours(folder, "sft")
    table = [{"input_ids": p + a, "labels": [-100] * len(p) + a} for p, a, _ in ours.examples]
    settings = _arguments(SFTConfig, folder, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    trainer = SFTTrainer(ours.model, settings, train_dataset=Dataset.from_list(table), processing_class=_tokenizer())
    return ours.difference(trainer.compute_loss(trainer.model, trainer.data_collator(table)))


def preferences(folder: Path, theirs: str, alone: bool = False, **preference: Any) -> Difference:
    """Return the difference of `dpo` from DPOTrainer: shared prompts against two padded rows.

    Args:
        folder: Folder for temporary files.
        theirs: TRL's name of the loss.
        alone: Whether TRL is given each pair by itself, for a loss that sorts a batch.
        **preference: Our settings of it.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    ours = Ours(folder, "dpo", beta=0.3, **preference)
    smoothing = preference.get("label_smoothing", 0.0)
    settings = _arguments(DPOConfig, folder, beta=0.3, loss_type=[theirs], label_smoothing=smoothing)
    texts = Dataset.from_dict({"prompt": ["a"], "chosen": [" b"], "rejected": [" c"]})
    trainer = DPOTrainer(ours.model, ours.reference, settings, train_dataset=texts, processing_class=_tokenizer())
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [dict(zip(names, one, strict=True)) for one in ours.examples]
    batches = [[row] for row in rows] if alone else [rows]
    collate = DataCollatorForPreference(pad_token_id=0)
    return ours.difference(torch.stack([trainer.compute_loss(trainer.model, collate(b)) for b in batches]).mean())


def odds(folder: Path) -> Difference:
    """Return the difference of `orpo` from ORPOTrainer."""
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    ours = Ours(folder, "orpo", beta=0.4)
    settings = _arguments(ORPOConfig, folder, beta=0.4, max_length=LENGTH)
    texts = Dataset.from_dict({"prompt": ["a"], "chosen": [" b"], "rejected": [" c"]})
    trainer = ORPOTrainer(ours.model, settings, train_dataset=texts, processing_class=_tokenizer())
    batch: dict[str, torch.Tensor] = {}
    for number, name in enumerate(("chosen", "rejected"), start=1):
        sides = [(one.prompt, one[number]) for one in ours.examples]
        batch[f"{name}_input_ids"] = _padded([p + a for p, a in sides], 0)
        batch[f"{name}_attention_mask"] = _padded([[1] * len(p + a) for p, a in sides], 0)
        batch[f"{name}_labels"] = _padded([[-100] * len(p) + a for p, a in sides], -100)
    return ours.difference(trainer.get_batch_loss_metrics(trainer.model, batch)[0])


def judged(folder: Path) -> Difference:
    """Return the difference of `kto` from KTOTrainer, with answers of other prompts as it makes them."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    ours = Ours(folder, "kto", beta=0.3, good_weight=1.5, bad_weight=0.7)
    settings = _arguments(KTOConfig, folder, beta=0.3, desirable_weight=1.5, undesirable_weight=0.7)
    texts = Dataset.from_dict({"prompt": ["a", "a"], "completion": [" b", " c"], "label": [True, False]})
    trainer = KTOTrainer(ours.model, ours.reference, settings, train_dataset=texts, processing_class=_tokenizer())
    answers = [a or b for _, a, b in ours.examples]
    rows = [
        {"prompt_ids": p, "completion_ids": answers[n], "KL_completion_ids": answers[n - 1], "label": bool(a)}
        for n, (p, a, _) in enumerate(ours.examples)
    ]
    return ours.difference(trainer.compute_loss(trainer.model, DataCollatorForUnpairedPreference(pad_token_id=0)(rows)))


def _padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def _arguments(kind: Any, folder: Path, **others: Any) -> Any:
    quiet = {"report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
    return kind(output_dir=str(folder), per_device_train_batch_size=EXAMPLES, **quiet, **others)


def _tokenizer() -> Any:
    """Return a tokenizer, which TRL's trainers ask for; what they are measured on is tokenized."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({word: number for number, word in enumerate(["[END]", "a", " b", " c"])}, "[END]")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="[END]", pad_token="[END]")


CASES: dict[str, Callable[[Path], Difference]] = {
    "sft": responses,
    "dpo, sigmoid": partial(preferences, theirs="sigmoid"),
    "dpo, hinge": partial(preferences, theirs="hinge", loss="hinge"),
    "dpo, ipo": partial(preferences, theirs="ipo", loss="ipo"),
    "dpo, length_normalised (sigmoid_norm)": partial(preferences, theirs="sigmoid_norm", length_normalised=True),
    # TRL has the conservative loss under this name, after sorting; its `robust` divides by what is left.
    "dpo, label_smoothing (aot of one pair)": partial(preferences, theirs="aot", alone=True, label_smoothing=0.2),
    "orpo": odds,
    "kto": judged,
}


def show() -> None:
    """Print the table."""
    print("\n| fp32, against TRL | loss differs by | gradients differ by |\n|---|---|---|")
    for name, measure in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder))
        print(f"| {name} | {found.loss:.1e} | {found.gradient:.1e} |", flush=True)
