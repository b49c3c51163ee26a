"""Decoding of translations: greedy, or as a checkpoint's `generation_config.json` says."""

from typing import Any

import torch

from modelmill.tasks.translation.sides import Decoder


@torch.inference_mode()
def translate(model: Any, tokenizer: Any, input_ids: torch.Tensor) -> list[str]:
    """Return the greedy translations of texts.

    Args:
        model: An encoder and decoder of `transformers`.
        tokenizer: Its tokenizer.
        input_ids: int64, (batch, length), padded with the model's `pad_token_id`.
    """
    config, input_ids = model.config, input_ids.to(model.device)
    written = model.generate(
        input_ids=input_ids,
        attention_mask=(input_ids != config.pad_token_id).long(),
        max_length=config.max_position_embeddings,
        num_beams=1,
        do_sample=False,
    )
    return [tokenizer.decode(ids, skip_special_tokens=True) for ids in written.tolist()]


@torch.inference_mode()
def write(model: Any, decoder: Decoder, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[str]:
    """Return translations as the model's generation settings have them.

    Args:
        model: An encoder and decoder of `transformers`.
        decoder: Decoder of its ids.
        input_ids: int64, (batch, length).
        attention_mask: int64, (batch, length), 1 for a token of a text.
    """
    given = {"input_ids": input_ids.to(model.device), "attention_mask": attention_mask.to(model.device)}
    return [decoder.text(ids) for ids in model.generate(**given).tolist()]
