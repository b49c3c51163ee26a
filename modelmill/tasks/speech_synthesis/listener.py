"""A speech recogniser, trained on real recordings, that measures how intelligible synthesised speech is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from modelmill.models.speech.recogniser import Recogniser, ctc, hear
from modelmill.tasks.speech_synthesis.recipe import Listener
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

SHAPE = {"mels": 40, "channels": 96, "hidden_size": 96, "num_layers": 1}
CLIP = 1.0


def train(task: Any, settings: Listener, seed: int) -> Callable[[Sequence[np.ndarray]], list[str]]:
    """Return a function from sounds, each float32, (samples,), to their transcripts.

    Its network is trained on the training recordings of all voices.

    Args:
        task: The task, as `make_task` returns it.
        settings: The recipe's section.
        seed: Seed of weights and batches.
    """
    info, where = task.corpus.info, hardware.pick_device()
    examples = [task.examples(name, "train") for name in info["corpora"]]
    torch.manual_seed(seed)
    model = Recogniser(SHAPE | {key: info[key] for key in ("alphabet", "sample_rate")}).to(where)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.steps)
    draw = np.random.default_rng(seed)
    for step in range(settings.steps):
        some = examples[step % len(examples)]
        batch = to_device(some.batch(draw.choice(len(some), min(settings.batch_size, len(some)), replace=False)), where)
        logits, frames = model(batch["samples"], batch["lengths"])
        loss = ctc(logits, frames, batch["labels"], batch["label_lengths"])
        optimizer.zero_grad()
        (loss / batch["label_lengths"].sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
    model.eval()
    return lambda sounds: hear(model, sounds, info["alphabet"])
