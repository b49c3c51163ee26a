"""The same fine-tuning by each peer; each prints its seconds, examples and peak memory as JSON.

Run as `python -m benchmarks.conversations.peers NAME KIND MODEL LENGTH BATCH STEPS WARM_UP CLOCK`, in a process each.
"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.conversations import data
from benchmarks.open_models.peers import CLOCKS
from modelmill.recipe.adapters import Lora
from modelmill.store import open_store
from modelmill.tasks.language_modeling.objectives import answer_scores
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.tasks.language_modeling.objectives.preferences import Preferences
from modelmill.tasks.language_modeling.objectives.reference import Reference
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning
from modelmill.training.device import determinism, hardware, precision

OURS, TRL = "modelmill", "TRL"
RATE, BETA = 1e-4, 0.1
# Examples that TRL takes at a time, where a whole step's would fill the caches and be padded to the longest.
FEW = 4
LORA = Lora(rank=8, alpha=16.0)


@dataclass
class Job:
    """A fine-tuning; the peer calls `tick` after each step.

    Attributes:
        kind: `preferences` or `conversations`.
        model: Folder of the model.
        length: Tokens of a sequence.
        batch: Our rows, or examples of TRL, in a step.
        steps: Steps to train.
        examples: What is learned.
        held_out: Examples for validation.
        scratch: Folder for temporary files.
        clock: Returns seconds.
        ends: When each step ended.
        seen: Examples of each step.
        reference_seconds: Time that the reference took before training.
    """

    kind: str
    model: Path
    length: int
    batch: int
    steps: int
    examples: list[Any]
    held_out: list[Any]
    scratch: Path
    clock: Callable[[], float]
    ends: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    reference_seconds: float = 0.0

    def tick(self, examples: int) -> None:
        """Note the end of a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(self.clock())
        self.seen.append(examples)


def modelmill(job: Job, compiled: bool = True) -> None:
    """Train with our engine, after what the step does before it calls it.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
    """
    from modelmill.components.fine_tuning import lora
    from modelmill.training.loop import engine
    from modelmill.training.loop.checkpoint import Checkpoints

    class Ticking(engine.Trainer):
        def step(self, step: int, batch: Any, *others: Any) -> torch.Tensor:
            loss = super().step(step, batch, *others)
            names = ("lengths",) if "lengths" in batch[0] else ("position_ids",)
            job.tick(sum(_count(part, names[0]) for part in batch))
            return loss

    engine.Trainer = Ticking  # type: ignore[misc]
    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    splits = {"train": job.examples, "validation": job.held_out}
    task = data.task_over(job.scratch, job.model, job.length, splits, job.kind)
    model: Any = task.load(job.model)
    settings = LanguageFineTuning(
        steps=job.steps,
        batch_size=job.batch,
        learning_rate=RATE,
        evaluate_every=job.steps,
        validation_batches=1,
        checkpoint_seconds=1e9,
        compile="on" if compiled else "off",
        method="lora",
        lora=LORA,
        objective="dpo" if job.kind == "preferences" else "sft",
    )
    model.float()
    if job.kind == "preferences":
        _prefer(job, task, model, settings)
    lora.add_adapters(model, settings)
    examples = (task.examples("fine_tuning", split) for split in splits)
    checkpoints = Checkpoints(open_store(f"file://{job.scratch}/store"), "bench", job.scratch)
    engine.train(model, task, *examples, settings, data.SEED, checkpoints, lambda *_: None)


def _count(part: Any, name: str) -> int:
    if name == "lengths":
        return len(part[name])
    # A conversation ends where the next begins; what fills a window is shorter than any.
    begins = [[*torch.nonzero(row == 0).flatten().tolist(), row.numel()] for row in part[name]]
    return sum(end - begin > 2 for row in begins for begin, end in itertools.pairwise(row))


def _prefer(job: Job, task: Any, model: Any, settings: LanguageFineTuning) -> None:
    def rows(split: str) -> AnswerRows:
        return AnswerRows(task.files, split, "preferences", job.length, shares=True)

    began = job.clock()
    scores = {split: answer_scores.of_split(task, model, rows(split)) for split in ("train", "validation")}
    job.reference_seconds = job.clock() - began
    task.objective = Preferences(settings, rows, Reference(scores, {}))


def trl(job: Job, at_once: int = 0, kept: bool = False, compiled: bool = False, packs: bool = False) -> None:
    """Train with TRL's DPOTrainer or SFTTrainer.

    Args:
        job: The run.
        at_once: Examples at a time, whose gradients are summed over a step; 0 takes the whole step at once.
        kept: Whether the reference is computed before training, as ours is.
        compiled: Whether the model is compiled.
        packs: Whether conversations are packed into windows, kept apart; else they are padded to the longest.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    each = min(at_once or job.batch, job.batch)
    parts = round(job.batch / each)

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            job.tick(each * parts)

    class Tokenized(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    has_bf16 = precision.has_bf16(hardware.pick_device())
    # A base that is not trained is in bf16 where that is fast, as TRL's documentation advises.
    dtype = torch.bfloat16 if has_bf16 else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype, attn_implementation="sdpa")
    shared = {
        "output_dir": str(job.scratch),
        "max_steps": job.steps,
        "per_device_train_batch_size": each,
        "gradient_accumulation_steps": parts,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "adam_beta2": 0.95,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "bf16": has_bf16,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "torch_compile": compiled,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": data.SEED,
    }
    adapters = LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    more = {
        "processing_class": AutoTokenizer.from_pretrained(job.model),
        "peft_config": adapters,
        "callbacks": [Clock()],
    }
    began = job.clock()
    if job.kind == "preferences":
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        rows = Dataset.from_list([dict(zip(names, one, strict=True)) for one in job.examples])
        settings = DPOConfig(**shared, beta=BETA, max_length=None, precompute_ref_log_probs=kept)
        trainer: Any = Tokenized(model, args=settings, train_dataset=rows, **more)
        job.reference_seconds = job.clock() - began if kept else 0.0
    else:
        labels = [[t if k else -100 for t, k in zip(one.tokens, one.learned, strict=True)] for one in job.examples]
        table = [{"input_ids": one.tokens, "labels": its} for one, its in zip(job.examples, labels, strict=True)]
        settings = SFTConfig(
            **shared, max_length=None, padding_free=packs, dataset_kwargs={"skip_prepare_dataset": True}
        )
        trainer = SFTTrainer(model, settings, train_dataset=Dataset.from_list(table), **more)
    trainer.train()


PEERS: dict[str, dict[str, Callable[[Job], None]]] = {
    "preferences": {
        OURS: modelmill,
        f"{OURS}, not compiled": partial(modelmill, compiled=False),
        TRL: trl,
        f"{TRL}, reference kept": partial(trl, kept=True),
        f"{TRL}, reference kept, few at once": partial(trl, at_once=FEW, kept=True),
        f"{TRL}, reference kept, few at once, compiled": partial(trl, at_once=FEW, kept=True, compiled=True),
    },
    "conversations": {
        OURS: modelmill,
        f"{OURS}, not compiled": partial(modelmill, compiled=False),
        TRL: trl,
        f"{TRL}, few at once": partial(trl, at_once=FEW),
        f"{TRL}, padding-free": partial(trl, packs=True),
    },
}


def main(name: str, kind: str, model: str, length: str, batch: str, steps: str, warm_up: str, clock: str) -> None:
    """Train with one peer and print its figures.

    Args:
        name: Name of the peer.
        kind: `preferences` or `conversations`.
        model: Folder of the model.
        length: Tokens of a sequence.
        batch: Rows of ours, or examples of TRL's, in a step.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        clock: `wall` or `cpu`.
    """
    make = data.preferences if kind == "preferences" else data.conversations
    # As many as a run of TRL sees; ours packs the same ones into rows.
    wanted = max(256, int(steps) * 16)
    examples = make(Path(model), int(length), wanted + data.HELD_OUT)
    with tempfile.TemporaryDirectory() as scratch:
        train, held_out = examples[: -data.HELD_OUT], examples[-data.HELD_OUT :]
        how = int(length), int(batch), int(steps), train, held_out, Path(scratch), CLOCKS[clock]
        job = Job(kind, Path(model), *how)
        began = time.perf_counter()
        PEERS[kind][name](job)
        peak = hardware.peak_memory(hardware.pick_device())
    first = int(warm_up) - 1
    figures = {
        "seconds": job.ends[-1] - job.ends[first],
        "examples": sum(job.seen[first + 1 :]),
        "step_examples": sum(job.seen) / len(job.seen),
        "peak_mib": peak / 2**20,
        "reference_seconds": job.reference_seconds,
        "all_seconds": time.perf_counter() - began,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
