"""Small recipes and data for tests: real files, seconds to train."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

OPEN_SUITE = {
    "name": "open",
    "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
}


def source_file(number: int) -> str:
    """A Python file with a documented function; every number gives another text."""
    return (
        f"import math\n\n\ndef scale_{number}(value, factor={number}):\n"
        f'    """Multiply the value by the factor number {number}."""\n'
        f"    total = value * factor + {number % 7}\n    return math.floor(total)\n\n\n"
        f"class Box{number}:\n    size = {number * 3}\n\n    def area(self):\n        return self.size ** 2\n"
    )


def write_corpus(folder: Path, files: int = 120, shards: int = 3) -> Path:
    """JSONL shards of small Python files."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        rows = [
            {
                "path": f"pkg/file_{n}.py",
                "text": source_file(n),
                "module": f"pkg.file_{n}",
                "bytes": len(source_file(n)),
            }
            for n in range(shard, files, shards)
        ]
        (folder / f"part-{shard:02d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_table(folder: Path, rows: int = 200) -> Path:
    """A CSV of two classes that a line nearly separates."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,width,height,kind"]
    for n in range(rows):
        kind = n % 2
        width, height = 1 + kind * 2 + (n * 37 % 100) / 60, 2 - kind + (n * 53 % 100) / 70
        lines.append(f"{n},{width:.3f},{height:.3f},{'big' if kind else 'small'}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def language_recipe(folder: Path, data: Path, suite: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A tiny decoder; `changes` as `write` has them."""
    document: dict[str, Any] = {
        "name": "tiny-lm",
        "task": "language_modeling",
        "seed": 1,
        "data": {"path": str(data), "suite": "suite.json"},
        "preprocessing": {
            "split_by": "path",
            "validation": 0.15,
            "test": 0.15,
            "sequence_length": 64,
            "tokenizer": {"vocab_size": 320},
            "pairs": {"from": "python_docstrings"},
        },
        "model": {
            "type": "llama",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
        "pretraining": {"init": "random", "steps": 20, "batch_size": 4, "learning_rate": 0.01, "evaluate_every": 5},
        "fine_tuning": {
            "method": "lora",
            "lora": {"rank": 4},
            "steps": 10,
            "batch_size": 4,
            "learning_rate": 0.01,
            "evaluate_every": 5,
        },
        # A few steps do not beat the frequencies of the tokens, and a few files are not enough to compare by.
        "evaluation": {
            "samples": 1,
            "sample_tokens": 8,
            "gate": {"bits_per_byte": {"max": 8.0}},
            "baseline": False,
            "comparison": "none",
        },
        "registration": {"model": "tiny-lm"},
    }
    return write(folder, document, suite, **changes)


def table_recipe(folder: Path, data: Path, suite: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A 2-4-1 perceptron."""
    document: dict[str, Any] = {
        "name": "tiny-table",
        "task": "tabular_classification",
        "seed": 1,
        "data": {"path": str(data), "suite": "suite.json"},
        "preprocessing": {"features": ["width", "height"], "label": "kind", "validation": 0.2, "test": 0.2},
        "model": {"hidden": [4], "activation": "sigmoid"},
        "pretraining": "none",
        "fine_tuning": {
            "method": "full",
            "steps": 300,
            "patience": 5,
            "evaluate_every": 10,
            "batch_size": "all",
            "optimizer": "sgd",
            "learning_rate": 1.0,
        },
        "evaluation": {"gate": {"accuracy": {"min": 0.7}}, "baseline": False, "comparison": "none"},
        "registration": {"model": "tiny-table"},
    }
    return write(folder, document, suite, **changes)


def write(folder: Path, document: dict[str, Any], suite: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a recipe, named as it names itself, and beside it its suite, or one that asks for a row.

    `changes` replace keys; two underscores stand for a dot (`pretraining__steps`).
    """
    document = copy.deepcopy(document)
    _change(document, changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.json").write_text(json.dumps(suite or OPEN_SUITE))
    path = folder / f"{document['name']}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def change(recipe: Path, **changes: Any) -> Path:
    """Write keys into a recipe's file; `changes` as `write` has them."""
    document = yaml.safe_load(recipe.read_text())
    _change(document, changes)
    recipe.write_text(yaml.safe_dump(document, sort_keys=False))
    return recipe


def _change(document: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        *sections, last = key.split("__")
        target = document
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = value
