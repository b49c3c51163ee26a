"""The same fine-tuning by each peer; each prints its rate, input wait and accuracy as JSON.

Run as `python -m benchmarks.open_encoders.peers NAME CASE FOLDER STEPS WARM_UP TEXTS CLOCK`, in a process each.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.open_encoders import data
from benchmarks.open_encoders.job import CLOCKS, Job, accuracy
from modelmill.training.device import determinism, hardware

OURS, TRAINER = "modelmill", "Trainer"
HEADS = {
    "minilm": "AutoModelForSequenceClassification",
    "vit": "AutoModelForImageClassification",
    "whisper": "AutoModelForSpeechSeq2Seq",
}


def modelmill(job: Job, precision: str = "fp32") -> Any:
    """Train with our engine, after what the step does before it calls it.

    Args:
        job: The run.
        precision: `fp32` or `bf16`.
    """
    from modelmill.store import open_store
    from modelmill.training.loop import engine
    from modelmill.training.loop.checkpoint import Checkpoints

    class Ticking(engine.Trainer):
        def step(self, *others: Any) -> torch.Tensor:
            loss = super().step(*others)
            job.tick()
            return loss

    engine.Trainer = Ticking  # type: ignore[misc]
    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    task = job.opened.task
    model: Any = job.watch(task.load(job.opened.checkpoint).to(hardware.pick_device()))
    examples = (task.examples("fine_tuning", split) for split in ("train", "validation"))
    settings = data.settings(job.case, job.steps, precision)
    checkpoints = Checkpoints(open_store(f"file://{job.scratch}/store"), "bench", job.scratch)
    result = engine.train(model, task, *examples, settings, data.SEED, checkpoints, lambda *_: None)
    job.input_wait = result.input_seconds / result.step_seconds
    return model


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The training examples one by one, made when they are asked for, as a data set of the Trainer makes them."""

    def __init__(self, job: Job, names: tuple[str, ...]) -> None:
        """Open the training split.

        Args:
            job: The run.
            names: Tensors of a batch that the model takes.
        """
        self.examples = job.opened.task.examples("fine_tuning", "train")
        self.names = names
        lengths = self.examples.lengths
        # What the Trainer groups by.
        self.column_names = ["length"] if lengths is not None else []
        self._lengths = lengths

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        """Return an example, or the lengths of all."""
        if index == "length":
            return [] if self._lengths is None else self._lengths.tolist()
        batch = self.examples.batch(np.array([index]))
        return {name: batch[name][0] for name in self.names if name in batch}


def trainer(job: Job, bf16: bool = False, workers: int = 0) -> Any:
    """Train with the Hugging Face Trainer: fused AdamW, texts grouped by length, no logging, evaluation or checkpoints.

    Args:
        job: The run.
        bf16: Whether products are in bf16.
        workers: Processes that make batches.
    """
    import transformers
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            job.tick()

    determinism.seed_everything(data.SEED)
    task, settings = job.opened.task, data.settings(job.case, job.steps, "fp32")
    kind = getattr(transformers, HEADS[job.case.name])
    labels = {} if job.case.name == "whisper" else {"num_labels": len(task.corpus.info["classes"])}
    model = kind.from_pretrained(job.opened.checkpoint, dtype=torch.float32, attn_implementation="sdpa", **labels)
    job.watch(model)
    names = ("input_ids", "attention_mask", "token_type_ids", "pixel_values", "input_features", "labels")
    grouped = settings.group_by_length
    arguments = TrainingArguments(
        output_dir=str(job.scratch),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.beta1,
        adam_beta2=settings.beta2,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=hardware.pick_device().type == "cpu",
        train_sampling_strategy="group_by_length" if grouped else "random",
        remove_unused_columns=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = Rows(job, names)
    collate = partial(_padded, padding=getattr(task, "padding", 0))
    Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]).train()
    return model


def _padded(rows: list[dict[str, torch.Tensor]], padding: int) -> dict[str, torch.Tensor]:
    """Return rows as a batch; texts are padded to the longest, rounded up to a multiple of 8."""
    batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in ("input_ids", "attention_mask", "token_type_ids"):
            longest = max(int(row["attention_mask"].sum()) for row in rows)
            width = -(-longest // 8) * 8
            filler = padding if name == "input_ids" else 0
            values = [nn.functional.pad(one[:width], (0, max(0, width - len(one))), value=filler) for one in values]
        elif name == "labels" and values[0].ndim:
            values = list(nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=-100))
        batch[name] = torch.stack(values)
    return batch


PEERS: dict[str, Callable[[Job], Any]] = {
    OURS: modelmill,
    f"{OURS}, bf16": partial(modelmill, precision="bf16"),
    TRAINER: trainer,
    f"{TRAINER}, bf16": partial(trainer, bf16=True),
    f"{TRAINER}, 2 workers": partial(trainer, workers=2),
    f"{TRAINER}, bf16, 2 workers": partial(trainer, bf16=True, workers=2),
}


def main(name: str, case: str, folder: str, steps: str, warm_up: str, texts: str, clock: str) -> None:
    """Train with one peer and print its figures.

    Args:
        name: Name of the peer.
        case: Name of the case.
        folder: Folder of models and corpora.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        texts: Held-out texts that the accuracy is measured on.
        clock: `wall` or `cpu`.
    """
    chosen = data.CASES[case](Path(folder))
    opened = data.opened(chosen, Path(folder))
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(chosen, opened, int(steps), int(warm_up), Path(scratch), CLOCKS[clock])
        trained = PEERS[name](job)
    last_untimed = job.warm_up - 1
    # Batches differ in length, so that the whole time counts and not the median step's.
    rate = (job.units[-1] - job.units[last_untimed]) / (job.ends[-1] - job.ends[last_untimed])
    peak = hardware.peak_memory(hardware.pick_device()) / 2**20
    measured = accuracy(job, trained, int(texts))
    print(json.dumps({"rate": rate, "input_wait": job.input_wait, "peak_mib": peak, "accuracy": measured}))


if __name__ == "__main__":
    main(*sys.argv[1:])
