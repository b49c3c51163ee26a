"""What tasks over texts share whose network a checkpoint decides: made-up texts, as its tokenizer renders them."""

import tempfile
from pathlib import Path

import torch

from modelmill.corpus.text import given_tokenizer
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.runtime.compatibility import require_length
from modelmill.runtime.sources import tokenizer as tokenizers
from modelmill.tasks.contract import Batch

# Texts of several lengths that a model is tried on.
MADE_UP = ("A short one.", "It is what it was, and was what it is: nothing else, as far as one can tell.", "Why?")


def made_up(
    own: OwnTokenizer, has_types: bool, device: torch.device, is_paired: bool = False
) -> tuple[Batch, list[Batch]]:
    """Return texts of several lengths, one of them the longest that there can be: together, and each alone.

    Args:
        own: The checkpoint's tokenizer.
        has_types: Whether the model is given types of tokens.
        device: Where the model is.
        is_paired: Whether it reads pairs of texts.
    """
    texts = [*MADE_UP, " ".join(MADE_UP * own.length)]
    rendered = own.render(list(zip(texts, reversed(texts), strict=True)) if is_paired else texts)
    width = max(len(one.ids) for one in rendered)
    arrays = {
        "input_ids": [one.ids + [own.padding] * (width - len(one.ids)) for one in rendered],
        "attention_mask": [[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in rendered],
    } | ({"token_type_ids": [one.types + [0] * (width - len(one.types)) for one in rendered]} if has_types else {})
    together = {name: torch.tensor(rows, device=device) for name, rows in arrays.items()}
    alone = [
        {name: rows[number : number + 1, : len(one.ids)] for name, rows in together.items()}
        for number, one in enumerate(rendered)
    ]
    return together, alone


def of_checkpoint(
    where: str, folder: Path, length: int, device: torch.device, is_paired: bool = False
) -> tuple[OwnTokenizer, Batch, list[Batch]]:
    """Return the tokenizer of a checkpoint before there is a corpus, and made-up texts as it renders them.

    Args:
        where: Key and source, for messages.
        folder: The checkpoint.
        length: The most tokens of a text.
        device: Where the model is.
        is_paired: Whether it reads pairs of texts.

    Raises:
        UserError: The model was made for shorter texts; or there is no tokenizer that renders texts of this length.
    """
    require_length(folder, length)
    with tempfile.TemporaryDirectory() as scratch:
        given_tokenizer.copy(tokenizers.ready(where, folder), Path(scratch))
        own = OwnTokenizer(Path(scratch), length)
        has_types = own.has_types([(one, one) for one in MADE_UP] if is_paired else MADE_UP)
        return own, *made_up(own, has_types, device, is_paired)
