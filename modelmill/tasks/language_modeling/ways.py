"""Ways of feeding packed windows to a causal language model, so that no token sees another document or a later token.

Which of them a model takes is for `proof` to decide. The first ones are the fastest.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models import document_attention
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import rows

OWN, SDPA, EAGER = "own", "sdpa", "eager"


class Way(NamedTuple):
    """A way of feeding a model.

    Attributes:
        feeding: `packed` windows; their documents as `padded` rows; or, as `alone`, rows of equal length without
            padding.
        attention: `own`, or that of transformers' with this name.
        mask: What keeps packed documents apart: `pairs`, a mask of ours for all layers; `positions`, masks that the
            model makes of positions, for each kind of layer; `layers`, the same, made for a model that does not;
            `scores`, a mask of ours that is added to scores; `sequences`, positions and the numbers of documents, at
            which the kernels of recurrent layers reset their state.
        plain_head: Whether logits are the decoder's last hidden states times the head's weight and nothing else.
    """

    feeding: Literal["packed", "padded", "alone"] = "packed"
    attention: str = OWN
    mask: Literal["pairs", "positions", "layers", "scores", "sequences", "none"] = "pairs"
    plain_head: bool = True

    @property
    def words(self) -> str:
        """Return the way in words."""
        attention = "Modelmill's attention" if self.attention == OWN else f"transformers' {self.attention} attention"
        head = "" if self.plain_head else ", the model's own logits"
        return f"{_FEEDING[self.feeding]}, {attention}{_MASKS[self.mask]}{head}"


_FEEDING = {
    "packed": "packed windows",
    "padded": "one document a row, padded",
    "alone": "one document a row, rows of equal length together",
}
_MASKS = {
    "pairs": "",
    "none": "",
    "positions": ", masks made of positions",
    "layers": ", a mask for each kind of layer",
    "scores": ", mask added to scores",
    "sequences": ", states reset by the layers' kernels",
}
PACKED = Way()


def all_ways(own: str | None) -> Iterator[Way]:
    """Yield the ways, the fastest first.

    Args:
        own: The name of our attention on this device, or None where it has none.
    """
    attentions = [OWN, SDPA, EAGER] if own else [SDPA, EAGER]
    if own:
        yield PACKED
    for attention in attentions:
        yield Way(attention=attention, mask="positions")
        yield Way(attention=attention, mask="layers")
    for attention in (SDPA, EAGER):
        yield Way(attention=attention, mask="scores")
    for attention in attentions:
        yield Way(attention=attention, mask="sequences")
    for attention in attentions:
        yield Way("padded", attention, "none")
    yield Way("alone", EAGER, "none")


def hidden(way: Way, model: Any, batch: Batch) -> torch.Tensor:
    """Return the decoder's last hidden states, (batch, length, width)."""
    decoder = model.get_decoder()
    return _outputs(way, model, decoder, batch, lambda inputs: decoder(**inputs).last_hidden_state)


def logits(way: Way, model: Any, batch: Batch) -> torch.Tensor:
    """Return the model's own logits, (batch, length, vocabulary)."""
    return _outputs(way, model, model, batch, lambda inputs: model(**inputs).logits)


def chosen(rows: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the rows of a flat batch that something is learned of, where they are few; else all."""
    return rows.index_select(0, batch["learned"]) if "learned" in batch else rows


def takes_plain_head(way: Way, model: Any) -> bool:
    """Return whether the head's weight is all that there is to it; an adapter on it makes it another module."""
    return way.plain_head and has_plain_head(model)


def has_plain_head(model: Any) -> bool:
    """Return whether a model's head is a matrix."""
    head = model.get_output_embeddings()
    return type(head) is nn.Linear and head.bias is None


def unshared(module: nn.Module, tokens: torch.Tensor) -> dict[str, Any]:
    """Return the arguments for sequences that have nothing to do with each other, one a row."""
    parameters = inspect.signature(module.forward).parameters
    has_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {"input_ids": tokens} | ({"use_cache": False} if has_any or "use_cache" in parameters else {})


def _outputs(
    way: Way, model: Any, called: nn.Module, batch: Batch, call: Callable[[dict[str, Any]], torch.Tensor]
) -> torch.Tensor:
    tokens = batch["input_ids"]
    if way.mask == "sequences" and "position_ids" in batch:
        # A window at a time, because kernels take the ends of sequences for one row alone.
        rows_of_windows = zip(tokens.split(1), batch["position_ids"].split(1), strict=True)
        return torch.cat([call(unshared(called, row) | _sequences(positions)) for row, positions in rows_of_windows])
    if way.feeding == "packed":
        return call(unshared(called, tokens) | _apart(way, model, batch))
    split = rows.split(batch, padded=way.feeding == "padded")
    # With few rows of few lengths, attention needs no mask but the model's own.
    outputs = [call(unshared(called, tokens.flatten()[places])).flatten(0, 1) for places in split.places]
    return torch.cat(outputs).index_select(0, split.back).unflatten(0, tokens.shape)


def _apart(way: Way, model: Any, batch: Batch) -> dict[str, Any]:
    """Return the arguments that keep documents apart."""
    positions = batch.get("position_ids")
    if positions is None:
        return {}
    inputs: dict[str, Any] = {"position_ids": positions}
    if way.mask == "positions":
        return inputs
    if way.mask == "layers":
        return inputs | {"attention_mask": _by_layer(model, positions)}
    if model.config._attn_implementation == document_attention.NAME and "boundaries" in batch:
        # transformers passes a mask on unchanged if it has four dimensions.
        return inputs | {"attention_mask": batch["boundaries"].view(1, 1, 1, -1)}
    same = _seen(batch)
    if way.mask == "pairs":
        return inputs | {"attention_mask": same.unsqueeze(1)}
    dtype = next(model.parameters()).dtype
    scores = torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(~same, torch.finfo(dtype).min)
    return inputs | {"attention_mask": scores.unsqueeze(1)}


def _seen(batch: Batch) -> torch.Tensor:
    """Return which tokens each token sees, bool, (batch, length, length).

    These are the earlier ones of its document or, where answers share a prompt, of its segment and of the prompt's.
    """
    positions = batch["position_ids"]
    places = torch.arange(positions.shape[1], device=positions.device)
    starts = batch["segments"] if "segments" in batch else places - positions
    same = starts[:, :, None] == starts[:, None, :]
    if "parents" in batch:
        same |= batch["parents"][:, :, None] == starts[:, None, :]
    return same & (places[:, None] >= places[None, :])


def shares_prompts(way: Way) -> bool:
    """Return whether a way takes any mask of ours, and so one in which answers share a prompt."""
    return way.feeding == "packed" and way.mask in ("pairs", "scores")


def _sequences(positions: torch.Tensor) -> dict[str, Any]:
    """Return what the kernels of recurrent layers in `transformers` take: each token's sequence, or where each ends."""
    begins = positions[0] == 0
    ends = F.pad(torch.nonzero(begins).flatten(), (0, 1), value=begins.numel()).int()
    longest = int(torch.diff(ends).max())
    return {
        "position_ids": positions,
        "seq_idx": begins.cumsum(0, dtype=torch.int32).unsqueeze(0) - 1,
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _by_layer(model: Any, positions: torch.Tensor) -> dict[str, Any]:
    """Return the masks that transformers would make of positions, by the kind of layer."""
    from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING

    config = model.config.get_text_config()
    # Of embeddings, the functions read shape, type and device.
    embeddings = torch.empty(*positions.shape, 0, dtype=next(model.parameters()).dtype, device=positions.device)
    return {
        kind: LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[kind](
            config=config,
            inputs_embeds=embeddings,
            attention_mask=None,
            past_key_values=None,
            position_ids=positions,
        )
        for kind in sorted(set(config.layer_types))
    }
