"""A bare torch script that trains a model of transformers for one step, as a peer of our engine's start.

Run as `python benchmarks/training/bare.py CONFIG TOKENS BATCH LENGTH CLOCK`; prints when the first step ended.
"""

import json
import sys
import time

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main(config: str, tokens: str, batch: str, length: str, clock: str) -> None:
    """Train one step and print when it ended.

    Args:
        config: Arguments of `LlamaConfig`, JSON.
        tokens: File of token ids.
        batch: Windows of a batch.
        length: Tokens of a window.
        clock: `wall` or `cpu`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LlamaForCausalLM(LlamaConfig(**json.loads(config))).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    taken = np.load(tokens, mmap_mode="r")[: int(batch) * int(length)].astype(np.int64)
    ids = torch.from_numpy(taken).view(int(batch), int(length)).to(device)
    with torch.autocast(device, torch.bfloat16):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()
    print(time.process_time() if clock == "cpu" else time.time())


if __name__ == "__main__":
    main(*sys.argv[1:])
