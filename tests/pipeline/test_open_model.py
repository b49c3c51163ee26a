"""A checkpoint as hubs have them, sharded and in bf16, through all steps: what comes out is what the report says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from modelmill.runtime import run_records, weights
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Manifest
from tests import cli
from tests.pipeline.conftest import Finished
from tests.recipes import language_recipe

# Mean loss of held-out responses, each pair by itself, in a process that knows transformers alone.
CLEAN = """
import json, sys
import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
total = count = 0
for tokens, learned in json.load(sys.stdin):
    logits = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    losses = -logits[torch.arange(len(tokens) - 1), tokens[1:]]
    chosen = torch.tensor(learned[1:], dtype=torch.bool)
    total, count = total + losses[chosen].sum().item(), count + chosen.sum().item()
print(total / count)
"""


def made(store: Store, run_id: str, output: str) -> Manifest:
    step, name = output.split(".")
    record = run_records.read_step(store, run_id, step)
    assert record is not None
    return manifest.load(store, record.outputs[name])


def pairs(store: Store, corpus: Manifest, folder: Path) -> list[tuple[list[int], list[int]]]:
    """The held-out pairs with the token that follows each, and which of their tokens are learned."""
    files = manifest.fetch(store, corpus.entries, folder)
    examples = []
    for name in sorted(name for name in files if name.startswith("test/") and name.endswith("pairs.tokens.npy")):
        tokens, offsets, learned = (
            np.load(files[name.replace(".tokens.", f".{part}.")]) for part in ("tokens", "offsets", "learned")
        )
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            if learned[begin + 1 : end + 1].any():
                examples.append((tokens[begin : end + 1].tolist(), learned[begin : end + 1].tolist()))
    return examples


def test_a_sharded_bf16_checkpoint_comes_out_in_bf16_with_the_losses_of_the_report(
    language_run: Finished, tmp_path: Path
) -> None:
    trained = open_store(f"file://{language_run.store}")
    first = made(trained, language_run.summary["run_id"], "fine_tuning.model")
    manifest.place(trained, first.under("model"), tmp_path / "source")
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "source" / "model", dtype=torch.bfloat16)
    model.save_pretrained(base, max_shard_size="20KB")
    for file in weights.tokenizer_files(tmp_path / "source" / "model"):
        (base / file.name).write_bytes(file.read_bytes())
    assert len(weights.weight_files(base)) > 1

    recipe = language_recipe(
        tmp_path / "recipe",
        language_run.recipe.parent / "data",
        preprocessing__tokenizer={"from": str(base)},
        pretraining={"init": str(base), "steps": 0, "batch_size": 4, "learning_rate": 0.001},
        fine_tuning__precision="fp32",
        evaluation__gate={},
        evaluation__baseline=False,
        evaluation__comparison="none",
    )
    summary = cli.run_json(recipe, tmp_path / "store")
    assert summary["returncode"] == 0, summary["stderr"]
    store = open_store(f"file://{tmp_path / 'store'}")
    tuned = made(store, summary["run_id"], "fine_tuning.model")
    manifest.place(store, tuned.under("model"), tmp_path / "tuned")
    folder = tmp_path / "tuned" / "model"
    for file in weights.weight_files(folder):
        with safe_open(file, "pt") as opened:
            assert {opened.get_slice(name).get_dtype() for name in opened.keys()} == {"BF16"}  # noqa: SIM118
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"

    corpus = made(store, summary["run_id"], "preprocessing.corpus")
    given = json.dumps(pairs(store, corpus, tmp_path / "corpus"))
    command = [sys.executable, "-c", CLEAN, str(folder)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    evaluation = made(store, summary["run_id"], "evaluation.evaluation")
    assert abs(float(done.stdout) - evaluation.info["metrics"]["loss_after"]) < 1e-3
