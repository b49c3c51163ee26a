"""The table of families in docs/pretrained-families.md: which checkpoints are trained, and how they are fed.

    python -m benchmarks.pretrained_families --write

Each family is tried as a tiny checkpoint with random weights, of the modules in `tests.pretrained`.
"""

import importlib
import pkgutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.components.fine_tuning import lora
from modelmill.core.errors import UserError, one_line
from modelmill.recipe.adapters import AdaptedFineTuning
from tests import pretrained

PAGE = Path(__file__).parents[1] / "docs" / "pretrained-families.md"
HEAD = """# Families of checkpoints

With `model.type: auto` the checkpoint in `pretraining.init` decides what the network is: any architecture that
`transformers` has with the task's head. Before it is trained, a self-test compares a padded batch of made-up inputs,
with transformers' sdpa attention, with eager attention over each alone, and takes the fastest way that gives the
same; the model's manifest names it. `modelmill plan RECIPE --check-model` does the same before anything is spent. What
no way computes right is refused. After training, the folder is loaded again, and must hold what was trained.

The tables are made by `python -m benchmarks.pretrained_families --write` from tiny checkpoints with random weights,
transformers {version}, fp32 on a CPU. **Full** and **LoRA** say whether all weights, or adapters and a whole head, get
gradients; **saved** whether the saved folder gives the same weights. Families that are missing are not refused: they
were not tried.
"""
COLUMNS = "| Family | Full | LoRA | Saved | Fed as |\n|---|---|---|---|---|"


def main() -> None:
    """Print the tables, or write them into the page."""
    import transformers

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(50)
    parts = [HEAD.format(version=transformers.__version__)]
    for module in modules():
        rows = [row(module, family) for family in module.FAMILIES]
        parts.append("\n".join([f"## {module.TITLE}\n", COLUMNS, *rows]) + "\n")
        print(parts[-1], flush=True)
    if "--write" in sys.argv:
        PAGE.write_text("\n".join(parts), "utf-8")


def modules() -> list[Any]:
    """Return the modules of `tests.pretrained` that list families."""
    names = sorted(found.name for found in pkgutil.iter_modules(pretrained.__path__))
    every = [importlib.import_module(f"tests.pretrained.{name}") for name in names]
    return [module for module in every if hasattr(module, "FAMILIES")]


def row(module: Any, family: str) -> str:
    """Return a family's row."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        task, checkpoint = module.task_of(family, Path(folder))
        try:
            model = task.load(checkpoint)
        except UserError as error:
            return f"| `{family}` | refused | refused | | {one_line(error).replace(folder, '')} |"
        cells = [gradients(task, model), saved(task, model, Path(folder) / "saved"), task.way.words]
        cells.insert(1, adapted(task, task.load(checkpoint)))
        return f"| `{family}` | {' | '.join(cells)} |"


def gradients(task: Any, model: Any) -> str:
    """Return whether the weights that are trained get gradients."""
    examples = task.examples("fine_tuning", "train")
    try:
        task.loss(model.train(), examples.batch(np.arange(len(examples)))).backward()
    except Exception as error:  # what a family's own code cannot do
        return f"no: {type(error).__name__}"
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return "yes" if any(weight.grad is not None and weight.grad.any() for weight in trained) else "no"


def adapted(task: Any, model: Any) -> str:
    """Return whether adapters and the head beside them get gradients."""
    settings = AdaptedFineTuning(steps=1, learning_rate=0.1, method="lora")
    try:
        lora.add_adapters(model, settings, task.whole(model))
    except UserError:
        return "no"
    return gradients(task, model)


def saved(task: Any, model: Any, folder: Path) -> str:
    """Return whether a saved model gives the same weights."""
    folder.mkdir()
    try:
        task.save(model, folder)
    except Exception as error:  # what transformers cannot save or load
        return f"no: {type(error).__name__}"
    return "yes"


if __name__ == "__main__":
    main()
