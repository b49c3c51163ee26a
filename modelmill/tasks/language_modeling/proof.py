"""The proof that a model is fed right: on random tokens it computes what transformers computes, a document at a time.

transformers' eager attention over each document alone is taken as true. The fastest way of feeding that gives the same
losses and gradients is taken.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import distributed

from modelmill.core.errors import UserError
from modelmill.models import attention
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.causality import name_of_block, require_causal
from modelmill.tasks.language_modeling.scores import (
    GRADIENT,
    NATS,
    WINDOW,
    Scores,
    is_plain,
    largest,
    logits_of,
    losses_of,
    sample,
    score,
    true_scores,
)
from modelmill.tasks.language_modeling.specimen import Specimen
from modelmill.tasks.language_modeling.ways import Way

# Weights above which the sample is halved, so that the proof takes seconds.
LARGE = 100_000_000
# Weights times tokens of the largest copy that is given a sequence of training: a second of work.
WORK = 2e10


class Proof(NamedTuple):
    """The way that was taken, and how far it is from transformers' own.

    Attributes:
        way: The way.
        nats: Largest difference of a token's loss in nats.
        gradient: Largest difference of gradients, as a fraction.
        blocks: Blocks of the copy that was compared.
        tried: Faster ways, each with what was wrong with it.
    """

    way: Way
    nats: float
    gradient: float
    blocks: int
    tried: dict[str, str]

    def notes(self) -> dict[str, Any]:
        """Return what a manifest says of it: a bound for each difference, as the last digits are a machine's."""
        bounds = {"way_difference_nats": _bound(self.nats), "way_difference_gradient": _bound(self.gradient)}
        return {"way": self.way.words, **bounds}


def prove(model: Any, tokens: int, length: int, where: str, device: torch.device) -> Proof:
    """Return the fastest right way of feeding a model; the model is left as it was.

    Args:
        model: The model.
        tokens: Size of the tokenizer.
        length: Tokens of a sequence in training.
        where: What the model is, for messages.
        device: Where it will be trained.

    Raises:
        UserError: No way is right.
    """
    own = attention.implementation(device)
    with torch.random.fork_rng(), torch.enable_grad(), exact():
        specimen, samples, expected = _truth(model, tokens, length, where, device)
        plain = is_plain(specimen, samples[1])
        tried: dict[str, str] = {}
        for way in ways.all_ways(own):
            way = way._replace(plain_head=plain)
            if way.feeding == "alone" and distributed.is_initialized():
                continue  # processes that share a model's weights must call it equally often
            try:
                nats, gradient = _differences(specimen, way, own, samples, expected)
            except Exception as error:  # whatever a network raises for arguments that it does not take
                tried[way.words] = f"{type(error).__name__}: {_first_line(error)}"
                continue
            if nats <= NATS and gradient <= GRADIENT:
                _require_length(specimen, way, length, where)
                return Proof(way, nats, gradient, len(specimen.blocks), tried)
            by = f"gradients by {gradient:.2g}" if nats <= NATS else f"losses by {nats:.2g} nats a token"
            tried[way.words] = f"{by} from transformers' eager attention over each document alone"
    name, why = list(tried.items())[-1]
    raise UserError(
        f"{where}: {type(model).__name__} cannot be trained here: {name}: {why}, in {name_of_block(specimen)} or "
        "later; take another model"
    )


def _truth(
    model: Any, tokens: int, length: int, where: str, device: torch.device
) -> tuple[Specimen, list[Batch], list[Scores]]:
    """Return a copy of the model, samples for it, and their true scores.

    Raises:
        UserError: The model cannot be called, or is not causal.
    """
    window = WINDOW if sum(p.numel() for p in model.parameters()) < LARGE else WINDOW // 2
    window = max(8, min(window, length))
    for is_whole in (False, True):
        specimen = Specimen(model, tokens, length, window, device, is_whole=is_whole)
        specimen.stir()
        samples = [sample(specimen.tokens, window, several, device) for several in (True, False)]
        try:
            require_causal(specimen, samples[1], where)
            return specimen, samples, [true_scores(specimen, batch) for batch in samples]
        except UserError:
            raise
        except Exception as error:  # of a network that needs all its blocks, or more than tokens
            if is_whole:
                raise UserError(
                    f"{where}: {type(model).__name__} does not take tokens alone: {type(error).__name__}: "
                    f"{_first_line(error)}; take a causal language model for text"
                ) from error
    raise AssertionError


@torch.no_grad()
def _require_length(specimen: Specimen, way: Way, length: int, where: str) -> None:
    """Check that a model has positions for sequences of training; one that would take long is not asked.

    Raises:
        UserError: It has not.
    """
    if specimen.model.num_parameters() * length > WORK:
        return
    # Some models count positions of tokens other than padding alone.
    last = specimen.tokens - 1
    token = last - 1 if getattr(specimen.model.config, "pad_token_id", None) == last else last
    tokens = torch.full((1, length), token, device=next(specimen.model.parameters()).device)
    try:
        logits_of(specimen, way, {"input_ids": tokens, "labels": tokens})
    except Exception as error:  # of an embedding, a buffer or a table of positions
        raise UserError(
            f"{where}: {type(specimen.model).__name__} has no positions for {length} tokens: {_first_line(error)}; set "
            "preprocessing.sequence_length to less"
        ) from error


def apply(way: Way, model: Any, device: torch.device) -> None:
    """Set the attention of a way.

    Args:
        way: The way.
        model: The model.
        device: Where it will be trained.

    Raises:
        ValueError: The model does not take it.
    """
    _set_attention(model, attention.implementation(device) if way.attention == ways.OWN else way.attention)


def _set_attention(model: Any, name: str) -> None:
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        raise ValueError(f"{type(model).__name__} does not take another attention")


def _differences(
    specimen: Specimen, way: Way, own: str, samples: list[Batch], expected: list[Scores]
) -> tuple[float, float]:
    """Return the largest differences of a token's loss in nats, and of gradients as a fraction."""
    if way.attention != ways.EAGER or specimen.model.config._attn_implementation != ways.EAGER:
        _set_attention(specimen.model, own if way.attention == ways.OWN else way.attention)
    gradient = 0.0
    with torch.no_grad():
        nats = max(
            largest(losses_of(logits_of(specimen, way, batch), batch), known.losses)
            for batch, known in zip(samples, expected, strict=True)
        )
    if nats > NATS:
        return nats, gradient
    for batch, known in zip(samples, expected, strict=True):
        scores = score(specimen, losses_of(logits_of(specimen, way, batch), batch))
        whole = torch.stack([one.norm() for one in known.gradients]).norm()
        for mine, theirs in zip(scores.gradients, known.gradients, strict=True):
            # That of a bias of keys is rounding alone.
            gradient = max(gradient, ((mine - theirs).norm() / theirs.norm().clamp(min=whole / 100)).item())
    return nats, gradient


def _bound(value: float) -> float:
    """Return the least power of ten that is larger, of those that matter."""
    return next(bound for bound in (1e-5, 1e-4, 1e-3, math.inf) if value < bound)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Enter a block in which products of fp32 are computed in fp32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
