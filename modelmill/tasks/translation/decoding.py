"""Greedy decoding of translations."""

from typing import Any

import torch


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
