"""The same fine-tuning by each peer; each prints its seconds a step, peak memory and held-out loss as JSON.

Run as `python -m benchmarks.open_models.peers NAME STAGE MODEL CORPUS LENGTH BATCH STEPS WARM_UP CLOCK`, in a process
each.
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.open_models import data
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.device import determinism, hardware, precision
from modelmill.training.loop.order import evenly_spaced

OURS, TRL = "modelmill", "TRL"
SCORED = 16  # held-out windows
# `cpu` counts the processor seconds of this process, for a machine that others use too.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Job:
    """A fine-tuning; the peer calls `tick` after each step.

    Attributes:
        stage: `lora` or `full`.
        folder: Folder of the model.
        task: The task over the corpus.
        batch: Windows of a batch.
        steps: Steps to train.
        scratch: Folder for temporary files.
        clock: Returns seconds.
        ends: When each step ended.
    """

    stage: str
    folder: Path
    task: LanguageModeling
    batch: int
    steps: int
    scratch: Path
    clock: Callable[[], float]
    ends: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """Note the end of a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(self.clock())


def modelmill(job: Job, compiled: bool = True) -> Any:
    """Train with our engine, after what the steps do before they call it.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
    """
    from modelmill.components.fine_tuning import lora
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
    model: Any = job.task.load(job.folder).to(hardware.pick_device())
    if job.stage == "lora":
        lora.add_adapters(model, data.LORA)
    else:
        model.float()
    examples = (job.task.examples("fine_tuning", split) for split in ("train", "validation"))
    settings = data.settings(job.stage, job.batch, job.steps, compile="on" if compiled else "off")
    checkpoints = Checkpoints(open_store(f"file://{job.scratch}/store"), "bench", job.scratch)
    engine.train(model, job.task, *examples, settings, data.SEED, checkpoints, lambda *_: None)
    return model


def trl(job: Job, apart: bool = True, compiled: bool = False) -> Any:
    """Train with TRL's SFTTrainer: packed windows, PyTorch's fused attention, fused AdamW, nothing computed twice.

    Args:
        job: The run.
        apart: Whether conversations in a window are kept apart, which takes a mask; without, it is another function.
        compiled: Whether the model is compiled.
    """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            job.tick()

    device = hardware.pick_device()
    settings = data.settings(job.stage, job.batch, job.steps)
    has_bf16 = precision.has_bf16(device)
    # A base that is not trained is in bf16 where that is fast, as TRL's documentation advises.
    dtype = torch.bfloat16 if has_bf16 and job.stage == "lora" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.folder, dtype=dtype, attn_implementation="sdpa")
    arguments = SFTConfig(
        output_dir=str(job.scratch),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=0.95,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        bf16=has_bf16,
        use_cpu=device.type == "cpu",
        gradient_checkpointing=False,
        padding_free=apart,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        torch_compile=compiled,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model,
        arguments,
        train_dataset=Dataset.from_list(data.rows(data.batches(job.task, job.batch, job.steps), apart)),
        processing_class=AutoTokenizer.from_pretrained(job.folder),
        peft_config=_lora() if job.stage == "lora" else None,
        callbacks=[Clock()],
    )
    trainer._get_train_sampler = lambda *_: None  # batches in the given order
    trainer.train()
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    return trained.get_base_model() if job.stage == "lora" else trained


def _lora() -> Any:
    from peft import LoraConfig

    lora = data.LORA.lora
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")


PEERS: dict[str, Callable[[Job], nn.Module]] = {
    OURS: modelmill,
    f"{OURS}, not compiled": partial(modelmill, compiled=False),
    TRL: trl,
    f"{TRL}, conversations mixed": partial(trl, apart=False),
    f"{TRL}, conversations mixed, compiled": partial(trl, apart=False, compiled=True),
}


@torch.no_grad()
def held_out_loss(job: Job, model: Any) -> float:
    """Return the loss of held-out windows in nats per learned token, for all peers by the same code, in fp32.

    Args:
        job: The run.
        model: The trained model.
    """
    examples = job.task.examples("fine_tuning", "test")
    total, terms = 0.0, 0
    model = model.float().eval()
    for indices in evenly_spaced(len(examples), min(SCORED, len(examples)), 4):
        batch = examples.batch(indices)
        moved = {name: tensor.to(model.device) for name, tensor in batch.items()}
        total += float(job.task.losses(model, moved).double().sum())
        terms += job.task.terms(batch)
    return total / terms


def main(
    name: str, stage: str, model: str, corpus: str, length: str, batch: str, steps: str, warm_up: str, clock: str
) -> None:
    """Train with one peer and print its figures.

    Args:
        name: Name of the peer.
        stage: `lora` or `full`.
        model: Folder of the model.
        corpus: Folder of the packed corpus.
        length: Tokens of a window.
        batch: Windows of a batch.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        clock: `wall` or `cpu`.
    """
    task = data.open_task(Path(corpus), Path(model), int(length))
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(stage, Path(model), task, int(batch), int(steps), Path(scratch), CLOCKS[clock])
        trained = PEERS[name](job)
        peak = hardware.peak_memory(hardware.pick_device())
    timed = job.ends[int(warm_up) - 1 :]
    seconds = statistics.median(end - begin for begin, end in itertools.pairwise(timed))
    figures = {"step_seconds": seconds, "peak_mib": peak / 2**20, "loss": held_out_loss(job, trained)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
