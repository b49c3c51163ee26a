"""What a decoder is given while it learns a text: the text, moved one place to the right.

Models differ in what comes first: a token that starts every text, or, in mBART and its kind, the last token of the
text, which names its language. Which of the two transformers does is seen in what it gives the decoder itself.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F

from modelmill.core.errors import UserError, one_line
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
        model: The model, on the CPU.
        batch: `input_ids`, `attention_mask` and `labels` of some pairs, of which one is shorter than another.
        where: What the model is, for messages.

    Raises:
        UserError: It starts them in another way, or its loss has other parts than that of each token.
    """
    was_training = model.training
    try:
        given, loss, logits = _learn(model.eval(), batch)
    except Exception as error:  # whatever a network raises of inputs that it was not made for
        raise UserError(
            f"{where}: {type(model).__name__} does not take texts alone: {one_line(error)[:200]}"
        ) from error
    finally:
        model.train(was_training)
    mine = F.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten())
    if not torch.allclose(loss.float(), mine, rtol=1e-4 if logits.dtype == torch.float32 else 1e-2):
        raise UserError(
            f"{where}: the loss of {type(model).__name__} is {loss:.4g}, and not that of each token, {mine:.4g}: such "
            "networks (experts that are balanced, several tokens ahead) are not trained here; take another model"
        )
    token, padding = model.config.decoder_start_token_id, model.config.pad_token_id
    starts: tuple[Start, ...] = ("last",) if token is None else ("token", "last")
    for start in starts:
        if torch.equal(given, shifted(batch["labels"], start, token, padding)):
            return start
    raise UserError(
        f"{where}: {type(model).__name__} does not give its decoder the text moved by one place; take another model"
    )


def _learn(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the ids that transformers gives a model's decoder for labels, the loss and the logits."""
    given: list[torch.Tensor] = []

    def note(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.append(named["input_ids"] if "input_ids" in named else arguments[0])

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        made = model(**batch)
    finally:
        hook.remove()
    return given[0], made.loss, made.logits
