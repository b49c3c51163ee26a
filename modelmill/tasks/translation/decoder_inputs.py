"""What a decoder is given while it learns a text: the text, moved one place to the right.

Models differ in what comes first: a token that starts every text, or, in mBART and its kind, the last token of the text,
which names its language. Which of the two transformers does is seen in what it gives the decoder itself.
"""

from typing import Any, Literal

import torch

from modelmill.core.errors import UserError
from modelmill.models.cross_entropy import IGNORED

Start = Literal["token", "last"]


def shifted(labels: torch.Tensor, start: Start, token: int | None, padding: int) -> torch.Tensor:
    """Return what the decoder is given for labels: int64, (batch, length).

    Args:
        labels: int64, (batch, length); after the end of a text `IGNORED`.
        start: Whether a token comes first, or each text's last one.
        token: Id of the token that starts every text, for `token`.
        padding: Id of the token that fills up a row.
    """
    if start == "token":
        first = torch.full_like(labels[:, :1], token or 0)
    else:
        first = labels.gather(1, (labels != IGNORED).sum(1, keepdim=True) - 1)
    return torch.cat([first, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, padding)], dim=1)


@torch.no_grad()
def start_of(model: Any, batch: dict[str, torch.Tensor], where: str) -> Start:
    """Return how transformers starts the texts that a model learns.

    Args:
        model: The model.
        batch: `input_ids`, `attention_mask` and `labels` of some pairs, of which one is shorter than another.
        where: What the model is, for messages.

    Raises:
        UserError: It starts them in another way.
    """
    seen = _given(model, batch)
    token, padding = model.config.decoder_start_token_id, model.config.pad_token_id
    starts: tuple[Start, ...] = ("last",) if token is None else ("token", "last")
    for start in starts:
        if torch.equal(seen, shifted(batch["labels"], start, token, padding)):
            return start
    raise UserError(
        f"{where}: {type(model).__name__} does not give its decoder the text moved by one place; it cannot be trained "
        "here, take another model"
    )


def _given(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the ids that transformers gives a model's decoder for labels."""
    given: list[torch.Tensor] = []

    def note(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", arguments[0] if arguments else None)
        if isinstance(ids, torch.Tensor):
            given.append(ids)

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        model(**batch)
    finally:
        hook.remove()
    return given[0] if given else batch["labels"]
