"""The part of a batch that fits into memory."""

import contextlib
import logging
import math
from collections.abc import Iterator

import torch

from modelmill.core.errors import UserError
from modelmill.recipe import Training
from modelmill.tasks.contract import Batch
from modelmill.training.device.hardware import free_memory

log = logging.getLogger("modelmill")
# Usable share of the free memory; the rest is for gradients, for kernels' buffers and for errors of the estimate.
USABLE = 0.7


def micro_batch_size(
    settings: Training, batch_size: int, bytes_each: int, device: torch.device, processes: int = 1
) -> int:
    """Return how many examples to put through the model at a time.

    The recipe's number, or the fewest equal parts of the batch that fit.

    Args:
        settings: The stage's settings.
        batch_size: Examples in a batch of one process.
        bytes_each: Bytes that an example's forward pass keeps for its backward pass.
        device: The device of this process.
        processes: Processes on this machine.

    Raises:
        UserError: Not even one example fits, or the recipe's micro-batch does not.
    """
    fits = int(USABLE * free_memory(device, processes)) // max(1, bytes_each)
    wanted = 1 if settings.micro_batch_size == "auto" else min(settings.micro_batch_size, batch_size)
    if wanted > fits:
        need = f"{wanted} example{'s' * (wanted > 1)} at once need about {wanted * bytes_each / 2**30:.1f} GiB"
        advice = f"set micro_batch_size to {fits} or auto" if fits else "use shorter examples or a smaller model"
        raise UserError(f"micro_batch_size: {need} of {device.type} memory, more than is free; {advice}")
    if settings.micro_batch_size != "auto":
        return wanted
    size = math.ceil(batch_size / math.ceil(batch_size / fits))
    if size < batch_size:
        log.info("micro_batch_size: %d of %d examples at once, to fit into memory", size, batch_size)
    return size


@contextlib.contextmanager
def explained(batch: Batch) -> Iterator[None]:
    """Enter a block whose lack of memory becomes the user's error: the estimate was wrong."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        examples = len(next(iter(batch.values())))
        advice = (
            f"set micro_batch_size to {examples // 2}" if examples > 1 else "use shorter examples or a smaller model"
        )
        raise UserError(f"micro_batch_size: {examples} examples at once do not fit into memory; {advice}") from error
