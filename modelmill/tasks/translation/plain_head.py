"""The head of a decoder where it is a mere matrix, so that the logits of a whole batch need not exist at once."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

# Largest difference of a logit, as a fraction of the largest. Rounding in fp32 makes less than a tenth of it.
TOLERANCE = 1e-4
# Returns logits of a model for the decoder's inputs.
Logits = Callable[[Any], torch.Tensor]
# Returns the last hidden states of a model's decoder.
Hidden = Callable[[Any], torch.Tensor]


@torch.no_grad()
def scale_of(model: Any, logits: Logits, hidden: Hidden) -> float | None:
    """Return what hidden states are multiplied by before the head's matrix; None where logits are made otherwise.

    Args:
        model: The model, on the CPU.
        logits: Returns the model's logits for some texts.
        hidden: Returns the decoder's hidden states for the same texts.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None:
        return None
    exact = model if head.weight.dtype == torch.float32 else copy.deepcopy(model).float()
    was_training = exact.training
    try:
        exact.eval()
        expected, states = logits(exact), hidden(exact)
    except Exception:  # of decoders that are called otherwise: then the model as a whole is
        return None
    finally:
        exact.train(was_training)
    made = states @ exact.get_output_embeddings().weight.t()
    for scale in (1.0, states.shape[-1] ** -0.5):  # T5 with tied embeddings has the second
        if made.shape == expected.shape and (made * scale - expected).abs().max() <= TOLERANCE * expected.abs().max():
            return scale
    return None
