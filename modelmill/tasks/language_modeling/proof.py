"""The proof that a model is fed right: on random tokens it computes what transformers computes, a document at a time.

transformers' eager attention over each document alone is taken as true. The fastest way of feeding that gives the same
losses and gradients is taken.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import distributed

from modelmill.core.errors import UserError
from modelmill.models import attention
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.packed_windows import boundaries_of
from modelmill.tasks.language_modeling.specimen import Specimen
from modelmill.tasks.language_modeling.ways import Way

# Documents of a sample of 64 tokens: two windows of several, then two of one.
SEVERAL = ((5, 1, 21, 37), (40, 24))
WINDOW = 64
# Weights above which the sample is halved, so that the proof takes seconds.
LARGE = 100_000_000
# Weights times tokens of the largest copy that is given a sequence of training: a second of work.
WORK = 2e10
# Largest difference of a token's loss in nats, and of gradients and logits as a fraction: ten times what rounding
# makes with weights as large as those of a copy.
NATS, GRADIENT, LOGITS = 5e-4, 1e-3, 1e-4


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


class _Scores(NamedTuple):
    losses: torch.Tensor
    gradients: list[torch.Tensor]


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
    with torch.random.fork_rng(), _exact():
        specimen, samples, expected = _truth(model, tokens, length, where, device)
        plain = _is_plain(specimen, samples[1])
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
        f"{where}: {type(model).__name__} cannot be trained here: {name}: {why}, in {_names(specimen)} or later; "
        "take another model"
    )


def _truth(
    model: Any, tokens: int, length: int, where: str, device: torch.device
) -> tuple[Specimen, list[Batch], list[_Scores]]:
    """Return a copy of the model, samples for it, and their true scores.

    Raises:
        UserError: The model cannot be called, or is not causal.
    """
    window = WINDOW if sum(p.numel() for p in model.parameters()) < LARGE else WINDOW // 2
    window = max(8, min(window, length))
    for is_whole in (False, True):
        specimen = Specimen(model, tokens, length, window, device, is_whole=is_whole)
        specimen.stir()
        samples = [_sample(specimen.tokens, window, several, device) for several in (True, False)]
        try:
            _require_causal(specimen, samples[1], where)
            return specimen, samples, [_alone(specimen, batch) for batch in samples]
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
        _logits(specimen, way, {"input_ids": tokens, "labels": tokens})
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
    specimen: Specimen, way: Way, own: str, samples: list[Batch], expected: list[_Scores]
) -> tuple[float, float]:
    """Return the largest differences of a token's loss in nats, and of gradients as a fraction."""
    if way.attention != ways.EAGER or specimen.model.config._attn_implementation != ways.EAGER:
        _set_attention(specimen.model, own if way.attention == ways.OWN else way.attention)
    gradient = 0.0
    with torch.no_grad():
        nats = max(
            _largest(_losses(_logits(specimen, way, batch), batch), known.losses)
            for batch, known in zip(samples, expected, strict=True)
        )
    if nats > NATS:
        return nats, gradient
    for batch, known in zip(samples, expected, strict=True):
        scores = _score(specimen, _losses(_logits(specimen, way, batch), batch))
        whole = torch.stack([one.norm() for one in known.gradients]).norm()
        for mine, theirs in zip(scores.gradients, known.gradients, strict=True):
            # That of a bias of keys is rounding alone.
            gradient = max(gradient, ((mine - theirs).norm() / theirs.norm().clamp(min=whole / 100)).item())
    return nats, gradient


def _logits(specimen: Specimen, way: Way, batch: Batch) -> torch.Tensor:
    if not way.plain_head:
        return ways.logits(way, specimen.model, batch)
    logits: torch.Tensor = specimen.model.get_output_embeddings()(ways.hidden(way, specimen.model, batch))
    return logits


def _alone(specimen: Specimen, batch: Batch) -> _Scores:
    """Return the true scores: those of transformers' eager attention, a document at a time."""
    specimen.model.set_attn_implementation(ways.EAGER)
    begins = (batch["position_ids"] if "position_ids" in batch else _positions(batch)).flatten() == 0
    sizes = torch.diff(torch.nonzero(begins).flatten(), append=torch.tensor([begins.numel()], device=begins.device))
    logits = [
        specimen.model(**ways.unshared(specimen.model, document[None])).logits[0]
        for document in batch["input_ids"].flatten().split(sizes.tolist())
    ]
    return _score(specimen, _losses(torch.cat(logits), batch))


def _positions(batch: Batch) -> torch.Tensor:
    tokens = batch["input_ids"]
    return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)


def _losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    labels = batch["labels"].flatten()
    return F.cross_entropy(logits.reshape(len(labels), -1).float(), labels, reduction="none")


def _score(specimen: Specimen, losses: torch.Tensor) -> _Scores:
    weights = [p for p in specimen.model.parameters() if p.ndim < 2 and p.requires_grad]
    weights = weights or [specimen.model.get_input_embeddings().weight]
    gradients = torch.autograd.grad(losses.mean(), weights, allow_unused=True)
    return _Scores(losses.detach(), [g for g in gradients if g is not None])


@torch.no_grad()
def _is_plain(specimen: Specimen, batch: Batch) -> bool:
    """Return whether the head's weight times the decoder's last hidden states are the model's logits."""
    model, alone = specimen.model, Way("packed", ways.EAGER, "positions")
    if not ways.has_plain_head(model):
        return False
    try:
        products = model.get_output_embeddings()(ways.hidden(alone, model, batch))
        logits = ways.logits(alone, model, batch)
    except Exception:  # its decoder is not called as others are
        return False
    return products.shape == logits.shape and _largest(products, logits) <= LOGITS * logits.abs().max().item()


@torch.no_grad()
def _require_causal(specimen: Specimen, batch: Batch, where: str) -> None:
    """Check that later tokens change no earlier loss.

    Raises:
        UserError: They do.
    """
    specimen.model.set_attn_implementation(ways.EAGER)
    half = batch["input_ids"].shape[1] // 2
    changed = batch["input_ids"].clone()
    changed[:, half:] = (changed[:, half:] + 1) % specimen.tokens
    outputs: list[list[torch.Tensor]] = []
    logits = []
    for tokens in (batch["input_ids"], changed):
        with _outputs_of_blocks(specimen) as seen:
            logits.append(specimen.model(**ways.unshared(specimen.model, tokens)).logits[:, :half])
        outputs.append(seen)
    losses = [_losses(one, {"labels": batch["labels"][:, :half]}) for one in logits]
    if (nats := _largest(*losses)) > NATS:
        differ = [n for n, (a, b) in enumerate(zip(*outputs, strict=True)) if _largest(a[:, :half], b[:, :half]) > NATS]
        raise UserError(
            f"{where}: {type(specimen.model).__name__} is not a causal language model: tokens change the loss of "
            f"earlier ones by {nats:.2g} nats, in {_names(specimen, differ)}; take a decoder, or set is_decoder in its "
            "config.json if it is one"
        )


@contextlib.contextmanager
def _outputs_of_blocks(specimen: Specimen) -> Iterator[list[torch.Tensor]]:
    """Enter a block in which the outputs of the model's blocks are collected."""
    outputs: list[torch.Tensor] = []

    def collect(module: Any, inputs: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if torch.is_tensor(tensor) and tensor.ndim == 3:
            outputs.append(tensor)

    hooks = [block.register_forward_hook(collect) for block in specimen.blocks]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _names(specimen: Specimen, numbers: list[int] | None = None) -> str:
    """Return the names of blocks by their number, of the first one if no numbers are given."""
    if not specimen.blocks:
        return "the whole network"
    number = (numbers or [0])[0]
    return f"block {number} ({type(specimen.blocks[number]).__name__})"


def _bound(value: float) -> float:
    """Return the least power of ten that is larger, of those that matter."""
    return next(bound for bound in (1e-5, 1e-4, 1e-3, math.inf) if value < bound)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _largest(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference; infinite values that are the same do not differ."""
    difference = torch.where(mine == theirs, 0, mine - theirs).abs().max().item()
    return difference if difference == difference else float("inf")


def _sample(tokens: int, length: int, several: bool, device: torch.device) -> Batch:
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


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Enter a block in which products of fp32 are computed in fp32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
