"""What a proof compares: losses and gradients of a model on random tokens, and those that are true."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.packed_windows import boundaries_of
from modelmill.tasks.language_modeling.specimen import Specimen
from modelmill.tasks.language_modeling.ways import Way

# Documents of a sample of 64 tokens: two windows of several, then two of one.
SEVERAL = ((5, 1, 21, 37), (40, 24))
WINDOW = 64
# Largest difference of a token's loss in nats, and of gradients and logits as a fraction: ten times what rounding
# makes with weights as large as those of a copy.
NATS, GRADIENT, LOGITS = 5e-4, 1e-3, 1e-4


class Scores(NamedTuple):
    """Losses of a sample and their gradients.

    Attributes:
        losses: In nats, of each token.
        gradients: Of the mean loss, for weights that are no matrices, or for the embedding.
    """

    losses: torch.Tensor
    gradients: list[torch.Tensor]


def logits_of(specimen: Specimen, way: Way, batch: Batch) -> torch.Tensor:
    """Return the logits of a sample that is fed in a way, (batch, length, vocabulary)."""
    if not way.plain_head:
        return ways.logits(way, specimen.model, batch)
    logits: torch.Tensor = specimen.model.get_output_embeddings()(ways.hidden(way, specimen.model, batch))
    return logits


def true_scores(specimen: Specimen, batch: Batch) -> Scores:
    """Return the true scores: those of transformers' eager attention, a document at a time."""
    specimen.model.set_attn_implementation(ways.EAGER)
    begins = (batch["position_ids"] if "position_ids" in batch else _positions(batch)).flatten() == 0
    sizes = torch.diff(torch.nonzero(begins).flatten(), append=torch.tensor([begins.numel()], device=begins.device))
    logits = [
        specimen.model(**ways.unshared(specimen.model, document[None])).logits[0]
        for document in batch["input_ids"].flatten().split(sizes.tolist())
    ]
    return score(specimen, losses_of(torch.cat(logits), batch))


def _positions(batch: Batch) -> torch.Tensor:
    tokens = batch["input_ids"]
    return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)


def losses_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the loss of each token in nats, one-dimensional."""
    labels = batch["labels"].flatten()
    return F.cross_entropy(logits.reshape(len(labels), -1).float(), labels, reduction="none")


def score(specimen: Specimen, losses: torch.Tensor) -> Scores:
    """Return losses with their gradients."""
    weights = [p for p in specimen.model.parameters() if p.ndim < 2 and p.requires_grad]
    weights = weights or [specimen.model.get_input_embeddings().weight]
    gradients = torch.autograd.grad(losses.mean(), weights, allow_unused=True)
    return Scores(losses.detach(), [g for g in gradients if g is not None])


@torch.no_grad()
def is_plain(specimen: Specimen, batch: Batch) -> bool:
    """Return whether the head's weight times the decoder's last hidden states are the model's logits."""
    model, alone = specimen.model, Way("packed", ways.EAGER, "positions")
    if not ways.has_plain_head(model):
        return False
    try:
        products = model.get_output_embeddings()(ways.hidden(alone, model, batch))
        logits = ways.logits(alone, model, batch)
    except Exception:  # its decoder is not called as others are
        return False
    return products.shape == logits.shape and largest(products, logits) <= LOGITS * logits.abs().max().item()


def largest(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference; infinite values that are the same do not differ."""
    difference = torch.where(mine == theirs, 0, mine - theirs).abs().max().item()
    return difference if difference == difference else float("inf")


def sample(tokens: int, length: int, several: bool, device: torch.device) -> Batch:
    """Return windows of random tokens."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, tokens, (2, length + 1), generator=random)
    batch = {"input_ids": drawn[:, :-1].contiguous(), "labels": drawn[:, 1:].contiguous()}
    if several:
        positions = torch.stack([_positions_of(window, length) for window in SEVERAL])
        batch["position_ids"] = positions
        boundaries = boundaries_of(positions, torch.tensor([length, length]))
        if boundaries is not None:
            batch["boundaries"] = boundaries
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _positions_of(documents: tuple[int, ...], length: int) -> torch.Tensor:
    sizes = [max(1, size * length // WINDOW) for size in documents[:-1]]
    sizes.append(length - sum(sizes))
    return torch.cat([torch.arange(size) for size in sizes])
