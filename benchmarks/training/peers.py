"""The same training by each peer; each prints its seconds a step, peak memory and final loss as JSON.

Run as `python -m benchmarks.training.peers NAME STAGE SHAPE CORPUS STEPS WARM_UP CLOCK TURNS`, in a process each. If
TURNS is 1, it prints `ready` before each part that is timed and waits for a line on its standard input.
"""

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
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.training import data
from benchmarks.training.data import LORA, SHAPES, Shape
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.device import determinism, hardware
from modelmill.training.loop.order import evenly_spaced

AS_WRITTEN, SAVING = "modelmill, not compiled", "modelmill, a checkpoint every step"
# `cpu` counts the processor seconds of this process, for a machine that others use too.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SCORED = 8  # held-out windows
READY = "ready"
STEPS_AT_ONCE = {"cpu": 1, "cuda": 10}  # timed together, because a GPU runs behind


@dataclass
class Job:
    """A training run; the peer calls `tick` after each step.

    Attributes:
        stage: `pretraining` or `lora`.
        shape: The model and its batches.
        task: The task over the corpus.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        scratch: Folder for temporary files.
        clock: Returns seconds.
        takes_turns: Whether timing waits for a turn.
        every: Steps that are timed together.
        device: Device to train on.
        step_seconds: Seconds a step, as timed so far.
        flops: FLOPs of the model in a step; None if the peer does not count them.
    """

    stage: str
    shape: Shape
    task: LanguageModeling
    steps: int
    warm_up: int
    scratch: Path
    clock: Callable[[], float]
    takes_turns: bool
    every: int
    device: torch.device = field(default_factory=hardware.pick_device)
    step_seconds: list[float] = field(default_factory=list)
    flops: float | None = None
    _began: float | None = None

    def tick(self, step: int) -> None:
        """Note the end of a step, counted from 1; a GPU is waited for only where timing begins or ends."""
        if step < self.warm_up or (step - self.warm_up) % self.every:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        if self._began is not None:
            self.step_seconds.append((self.clock() - self._began) / self.every)
        if self.takes_turns:
            print(READY, flush=True)
            sys.stdin.readline()
        self._began = self.clock()

    def batches(self) -> list[Batch]:
        """Return the batches of all steps."""
        return data.batches(self.task, self.stage, self.shape.batch, self.steps)

    def loader(self) -> "DataLoader[dict[str, torch.Tensor]]":
        """Return the batches as a loader of torch, which needs no process of its own because they are in memory."""
        on_gpu = self.device.type == "cuda"
        return DataLoader(data.windows(self.batches()), batch_size=self.shape.batch, pin_memory=on_gpu)  # type: ignore[arg-type]


def modelmill(job: Job, compiled: bool = True, checkpoint_seconds: float = 1e9) -> nn.Module:
    """Train with our engine, after what the steps do before they call it.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
        checkpoint_seconds: Seconds between checkpoints.
    """
    from modelmill.components.fine_tuning import lora
    from modelmill.store import open_store
    from modelmill.training.loop import engine
    from modelmill.training.loop.checkpoint import Checkpoints

    class Ticking(engine.Trainer):
        def step(self, step: int, *others: Any) -> torch.Tensor:
            loss = super().step(step, *others)
            job.tick(step + 1)
            return loss

    engine.Trainer = Ticking  # type: ignore[misc]
    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    model = data.first_model(job.task)
    if job.stage == "lora":
        lora.add_adapters(model, LORA)
    examples = data.splits(job.task, job.stage)
    how = {"compile": "on" if compiled else "off", "checkpoint_seconds": checkpoint_seconds}
    settings = data.settings(job.shape, job.steps, **how)
    checkpoints = Checkpoints(open_store(f"file://{job.scratch}/store"), "bench", job.scratch)
    result = engine.train(model, job.task, *examples, settings, data.SEED, checkpoints, lambda *_: None)
    job.flops = result.step_flops
    return model


def hugging_face_trainer(job: Job, compiled: bool = False) -> nn.Module:
    """Train with the Trainer at its best: bf16, fused AdamW, no logging, evaluation or checkpoints.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
    """
    from transformers import Trainer, TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            job.tick(state.global_step)

    model = _adapted(job)
    settings = data.settings(job.shape, job.steps)
    trainer = Trainer(
        model,
        trainer_arguments(job.scratch, settings, lr_scheduler_type="constant", torch_compile=compiled),
        train_dataset=data.windows(job.batches()),
        callbacks=[Clock],
    )
    trainer._get_train_sampler = lambda *_: None  # batches in the given order
    trainer.train()
    return model


def trainer_arguments(scratch: Path, settings: Any, **others: Any) -> Any:
    """Return our settings as the Trainer's arguments.

    Args:
        scratch: Folder for its output.
        settings: Our settings.
        **others: More of its arguments.
    """
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=0.95,
        optim="adamw_torch_fused",
        bf16=True,
        use_cpu=hardware.pick_device().type == "cpu",
        remove_unused_columns=False,  # True would drop `shift_labels`
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **others,
    )


def fabric(job: Job, compiled: bool = False) -> nn.Module:
    """Train transformers' model with Lightning Fabric and a bare loop.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
    """
    model = _adapted(job)
    return _fabric_loop(job, model, lambda net, batch: net(**batch).loss, compiled)


def litgpt(job: Job, compiled: bool = False) -> nn.Module:
    """Train litgpt's model in the loop of its pretraining, which compiles.

    Args:
        job: The run.
        compiled: Whether the model is compiled.
    """
    from litgpt import GPT, Config
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from litgpt.utils import chunked_cross_entropy

    shape = job.shape
    source: Any = data.first_model(job.task).cpu()
    config = Config(
        n_layer=shape.model.num_hidden_layers,
        n_head=shape.model.num_attention_heads,
        n_embd=shape.model.hidden_size,
        intermediate_size=shape.model.intermediate_size,
        vocab_size=shape.vocabulary,
        padded_vocab_size=shape.vocabulary,
        block_size=shape.length,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=source.config.rms_norm_eps,
        mlp_class_name="LLaMAMLP",
    )
    model = GPT(config)
    weights: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, source.state_dict())
    model.load_state_dict(weights)
    model.transformer.wte.weight = model.lm_head.weight  # as litgpt's `tie_embeddings` does
    return _fabric_loop(
        job, model, lambda net, batch: chunked_cross_entropy(net(batch["input_ids"]), batch["labels"]), compiled
    )


def _fabric_loop(job: Job, model: nn.Module, loss: Callable[[Any, Batch], torch.Tensor], compiled: bool) -> nn.Module:
    from lightning.fabric import Fabric

    runner = Fabric(accelerator="auto", devices=1, precision="bf16-mixed")
    optimizer = _adamw(model, data.settings(job.shape, job.steps))
    wrapped, optimizer = runner.setup(torch.compile(model) if compiled else model, optimizer)
    loader = runner.setup_dataloaders(job.loader())
    wrapped.train()
    for step, batch in enumerate(loader, start=1):
        runner.backward(loss(wrapped, batch))
        runner.clip_gradients(wrapped, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        job.tick(step)
    return model


def _adapted(job: Job) -> nn.Module:
    """Return the first model, with `peft`'s adapters if that is the stage."""
    model: Any = data.first_model(job.task)
    model.set_attn_implementation("sdpa")  # transformers' default
    model.config.use_cache = False
    if job.stage != "lora":
        return model
    from peft import LoraConfig, get_peft_model

    lora = LORA.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.target_modules, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def _adamw(model: nn.Module, settings: Any) -> torch.optim.Optimizer:
    """Return a fused AdamW in which matrices alone decay, as in our engine and the Trainer."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)


PEERS: dict[str, Callable[[Job], nn.Module]] = {
    "modelmill": modelmill,
    AS_WRITTEN: partial(modelmill, compiled=False),
    "Hugging Face Trainer": hugging_face_trainer,
    "Hugging Face Trainer, compiled": partial(hugging_face_trainer, compiled=True),
    "litgpt": litgpt,
    "litgpt, compiled": partial(litgpt, compiled=True),
    "Lightning Fabric": fabric,
    "Lightning Fabric, compiled": partial(fabric, compiled=True),
    SAVING: partial(modelmill, compiled=False, checkpoint_seconds=0),
}


@torch.no_grad()
def loss_after(job: Job, model: nn.Module) -> float:
    """Return the loss on a few held-out windows in nats per token, by which peers are held to the same training.

    Args:
        job: The run.
        model: The trained model.
    """
    examples = data.splits(job.task, job.stage)[1]
    batch = examples.batch(evenly_spaced(len(examples), SCORED, 1)[0])
    made = model.to(job.device).eval()(batch["input_ids"].to(job.device))
    logits = (made if torch.is_tensor(made) else made.logits).cpu()
    return F.cross_entropy(logits.float().flatten(0, 1), batch["labels"].flatten()).item()


def main(name: str, stage: str, shape: str, corpus: str, steps: str, warm_up: str, clock: str, turns: str) -> None:
    """Train with one peer and print its figures.

    Args:
        name: Name of the peer.
        stage: `pretraining` or `lora`.
        shape: Name of the shape.
        corpus: Folder of the packed corpus.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        clock: `wall` or `cpu`.
        turns: `1` if timing waits for a turn.
    """
    task = data.open_task(Path(corpus), SHAPES[shape])
    every = 1 if name == SAVING else min(STEPS_AT_ONCE[hardware.pick_device().type], int(steps) - int(warm_up))
    with tempfile.TemporaryDirectory() as scratch:
        timing = Path(scratch), CLOCKS[clock], turns == "1", every
        job = Job(stage, SHAPES[shape], task, int(steps), int(warm_up), *timing)
        model = PEERS[name](job)
        peak = hardware.peak_memory(job.device)
    figures = {
        "step_seconds": statistics.median(job.step_seconds),
        "flops": job.flops,
        "peak_mib": peak / 2**20,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": loss_after(job, model),
        "learned": data.learned(job.batches()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
