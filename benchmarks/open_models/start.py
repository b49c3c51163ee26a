"""Seconds from the start of a process to the end of its first step from a large checkpoint, and its peak memory.

Run as `python -m benchmarks.open_models.start NAME MODEL CORPUS LENGTH CLOCK`; it prints JSON when the first step has
ended.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS, PLAIN = "modelmill", "from_pretrained"
# Llama-shaped: two bytes for each of these weights in a block, and the embedding beside them.
WIDTH, INNER, HEADS, VOCABULARY = 2048, 5504, 16, 49_152
BLOCK = 2 * (4 * WIDTH**2 + 3 * WIDTH * INNER)
SHARDS = 5


def write_checkpoint(folder: Path, size: int, tokenizer: Path) -> int:
    """Write random bf16 weights in shards, with the tokenizer of another model; return their bytes.

    Args:
        folder: Folder to write into.
        size: About how many bytes.
        tokenizer: Folder of the model that has the tokenizer.
    """
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    layers = max(1, round((size - 2 * VOCABULARY * WIDTH) / BLOCK))
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=size // SHARDS)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copyfile(file, folder / file.name)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def modelmill(model: Path, corpus: Path, length: int, end: Callable[[], None]) -> None:
    """Take a LoRA step of one window with our engine, after all the imports of the fine-tuning step.

    Args:
        model: Folder of the model.
        corpus: Folder of the packed corpus.
        length: Tokens of a window.
        end: Called when the step has ended.
    """
    from benchmarks.open_models import data
    from modelmill.components.fine_tuning import lora, step  # noqa: F401  the step's own imports count
    from modelmill.store import open_store
    from modelmill.training.device import determinism, hardware
    from modelmill.training.loop import stage  # noqa: F401
    from modelmill.training.loop.checkpoint import Checkpoints
    from modelmill.training.loop.engine import train

    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    task = data.open_task(corpus, model, length)
    loaded: Any = task.load(model).to(hardware.pick_device())
    lora.add_adapters(loaded, data.LORA)
    examples = (task.examples("fine_tuning", split) for split in ("train", "validation"))
    settings = data.settings("lora", 1, 2, compile="off")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(open_store(f"file://{scratch}/store"), "bench", Path(scratch))
        train(loaded, task, *examples, settings, data.SEED, checkpoints, lambda done, *_: end() if done >= 1 else None)


def plain(model: Path, corpus: Path, length: int, end: Callable[[], None]) -> None:
    """Take the same step with `from_pretrained`, `peft` and a bare loop.

    Args:
        model: Folder of the model.
        corpus: Folder of the packed corpus.
        length: Tokens of a window.
        end: Called when the step has ended.
    """
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto").to(device)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded, config)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-3, fused=True)
    tokens = np.load(next(corpus.glob("*/train/pairs.tokens.npy")), mmap_mode="r")[:length].astype(np.int64)
    ids = torch.from_numpy(tokens)[None].to(device)
    adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
    optimizer.step()
    end()


PEERS = {OURS: modelmill, PLAIN: plain}


def main(name: str, model: str, corpus: str, length: str, clock: str) -> None:
    """Take one step and print when it ended.

    Args:
        name: Name of the peer.
        model: Folder of the model.
        corpus: Folder of the packed corpus.
        length: Tokens of a window.
        clock: `wall` or `cpu`.
    """

    def end() -> None:
        from modelmill.training.device import hardware

        print(
            json.dumps(
                {
                    "ended": time.process_time() if clock == "cpu" else time.time(),
                    "peak_bytes": hardware.peak_memory(hardware.pick_device()),
                }
            ),
            flush=True,
        )
        os._exit(0)

    PEERS[name](Path(model), Path(corpus), int(length), end)


if __name__ == "__main__":
    main(*sys.argv[1:])
