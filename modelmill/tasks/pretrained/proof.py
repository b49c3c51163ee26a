"""The proof that batches are fed right: padded and with fast attention, an example gives what it gives alone.

transformers' eager attention over each example by itself is taken as true.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from modelmill.core.errors import UserError, one_line
from modelmill.tasks.contract import Batch

SDPA, EAGER = "sdpa", "eager"
# Largest difference of an output, as a fraction of the largest output. Rounding in fp32 makes less than a tenth of it.
TOLERANCE = 1e-4
# Returns the outputs of a model for the examples of a batch, one tensor an example, without what padding adds.
Outputs = Callable[[Any, Batch], list[torch.Tensor]]


class Way(NamedTuple):
    """A way of feeding a model.

    Attributes:
        padded: Whether examples of other lengths share a batch; else those of equal length do.
        attention: Name of the attention in transformers; None where the network has no choice.
    """

    padded: bool = True
    attention: str | None = None

    @property
    def words(self) -> str:
        """Return the way in words."""
        rows = "padded batches" if self.padded else "examples of equal length together"
        return f"{rows}, {self.attention} attention" if self.attention else rows


class Proof(NamedTuple):
    """The way that was taken, and how far it is from transformers' own.

    Attributes:
        way: The way.
        difference: Largest difference of an output, as a fraction of the largest.
        tried: Faster ways, each with what was wrong with it.
    """

    way: Way
    difference: float
    tried: dict[str, str]

    def notes(self) -> dict[str, Any]:
        """Return what a manifest says of it: a bound of the difference, as the last digits are a machine's."""
        bound = next(bound for bound in (1e-6, 1e-5, TOLERANCE) if self.difference <= bound)
        return {"way": self.way.words, "way_difference": bound}


def prove(model: Any, together: Batch, alone: Sequence[Batch], outputs: Outputs, where: str) -> Proof:
    """Return the fastest right way of feeding a model, which is set up for it.

    Args:
        model: The model.
        together: A batch of made-up examples, padded where their lengths differ.
        alone: The same examples, a batch each.
        outputs: Returns a model's outputs for a batch.
        where: What the model is, for messages.

    Raises:
        UserError: The model cannot be called in this way, or no attention computes what eager attention does.
    """
    dtype = next(model.parameters()).dtype
    exact = model if dtype == torch.float32 else copy.deepcopy(model).float()
    with _measured(exact), quiet():
        attentions: list[str | None] = [name for name in (SDPA, EAGER) if _takes(exact, name)] or [None]
        try:
            set_attention(exact, attentions[-1])
            expected = [outputs(exact, batch)[0] for batch in alone]
        except Exception as error:  # whatever a network raises of inputs that it was not made for
            raise UserError(f"{where}: {type(model).__name__} cannot be called: {one_line(error)[:200]}") from error
        tried: dict[str, str] = {}
        for way in (Way(padded, attention) for padded in (True, False) for attention in attentions):
            try:
                set_attention(exact, way.attention)
                found = outputs(exact, together) if way.padded else [outputs(exact, batch)[0] for batch in alone]
                difference = _difference(expected, found)
            except Exception as error:
                tried[way.words] = f"{type(error).__name__}: {one_line(error)[:200]}"
                continue
            if difference <= TOLERANCE:
                set_attention(model, way.attention)
                return Proof(way, difference, tried)
            tried[way.words] = f"outputs differ by {difference:.2g} of the largest"
    name, why = list(tried.items())[-1]
    raise UserError(f"{where}: {type(model).__name__} cannot be trained here: {name}: {why}; take another model")


def apart(batch: Batch, lengths: torch.Tensor, call: Callable[[Batch], torch.Tensor]) -> torch.Tensor:
    """Return the outputs of a padded batch, computed for the examples of each length together and without padding.

    Args:
        batch: Tensors whose first axis is that of the examples; second axes as long as the longest example are cut.
        lengths: Length of each example, (batch,).
        call: Returns the outputs of a batch, with the examples along the first axis.
    """
    longest, order, parts = int(lengths.max()), [], []
    for length in lengths.unique(sorted=True).tolist():
        rows = torch.nonzero(lengths == length).flatten()
        cut = {name: tensor[rows.to(tensor.device)] for name, tensor in batch.items()}
        parts.append(call({name: one[:, :length] if _is_long(one, longest) else one for name, one in cut.items()}))
        order.append(rows)
    back = torch.cat(order).argsort()
    return torch.cat(parts)[back.to(parts[0].device)]


def set_attention(model: Any, name: str | None) -> None:
    """Set a model's attention.

    Args:
        model: The model.
        name: Its name in transformers; None leaves it as it is.

    Raises:
        ValueError: The model does not have it.
    """
    if name is None or model.config._attn_implementation == name:
        return
    try:
        model.set_attn_implementation(name)
    except ValueError:  # of a part that has no choice, such as a backbone of convolutions
        model.set_attn_implementation({"": name})
    if model.config._attn_implementation != name:
        raise ValueError(f"{type(model).__name__} does not take another attention")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Enter a block in which transformers says nothing of what is expected here: new heads, other attention."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _is_long(tensor: torch.Tensor, longest: int) -> bool:
    return tensor.ndim > 1 and tensor.shape[1] >= longest


def _takes(model: Any, name: str) -> bool:
    try:
        set_attention(model, name)
    except Exception:  # of a network that has one attention, or none
        return False
    return True


@contextlib.contextmanager
def _measured(model: Any) -> Iterator[None]:
    """Enter a block in which a model computes without dropout and in whole fp32, and draws nothing of ours."""
    was_training, precision = model.training, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    model.eval()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            yield
    finally:
        model.train(was_training)
        torch.set_float32_matmul_precision(precision)


def _difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> float:
    largest = max(one.abs().max().item() for one in expected)
    differences = [(mine - theirs).abs().max().item() for mine, theirs in zip(found, expected, strict=True)]
    worst = max(differences)
    return worst / largest if worst == worst and largest else float("inf")  # NaN is no agreement
