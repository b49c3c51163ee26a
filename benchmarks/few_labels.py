"""`python -m benchmarks.few_labels`: recipes of encoders that exist, beside networks that have the same labels alone.

Each recipe is run as shipped, then with random weights (`pretraining.init: random`), then the recipe of the same task
that trains from nothing, on the same data and labels. A row says by how much the first is better, by paired bootstrap
over the same held-out examples.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.bench_tasks import ROOT, better_by, evaluation_of, make_demo, run_recipe
from benchmarks.machine import machine
from modelmill.store import open_store
from modelmill.store.manifest import Manifest


class FromNothing(NamedTuple):
    """A recipe that trains from nothing, put on the data of another.

    Attributes:
        recipe: Its name.
        dropped: Keys of its preprocessing that its own data needed.
        preprocessing: Keys of its preprocessing that the other data need.
    """

    recipe: str
    dropped: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = {}


PEERS = {
    "image-classification-efficientnet": FromNothing(
        "image-classification", ("classes", "other_classes"), {"size": 48, "channels": 3}
    ),
    "text-classification-minilm": FromNothing("text-classification", preprocessing={"sequence_length": 48}),
}
# Keys of preprocessing that both recipes must share to hold out the same examples and see the same labels.
_SHARED = ("label", "labelled", "labelled_per_class", "split_by", "validation", "test")
HEADER = """
| recipe | network | seconds | accuracy | loss | the recipe is better by, 95 % |
|---|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("recipes", nargs="*", default=list(PEERS), metavar="recipe", help=", ".join(PEERS))
    print(machine())
    print(HEADER, flush=True)
    for name in arguments.parse_args().recipes:
        make_demo(name)
        with tempfile.TemporaryDirectory() as folder:
            _compare(name, Path(folder))


def _compare(name: str, folder: Path) -> None:
    """Print a row for each of three networks."""
    path = ROOT / "recipes" / f"{name}.yaml"
    peer = PEERS[name]
    moved = folder / f"{peer.recipe}.yaml"
    moved.write_text(yaml.safe_dump(_moved(path, peer)), "utf-8")
    tuned = _row(name, "as shipped", folder, path)
    _row(name, "the same, random weights", folder, path, "--set", "pretraining.init=random", than=tuned)
    _row(name, f"that of {peer.recipe}", folder, moved, than=tuned)


def _moved(path: Path, peer: FromNothing) -> dict[str, Any]:
    """Return the recipe that trains from nothing with the data, splits and labels of another."""
    wanted = yaml.safe_load(path.read_text("utf-8"))
    recipe = dict(yaml.safe_load((ROOT / "recipes" / f"{peer.recipe}.yaml").read_text("utf-8")))
    data = wanted["data"]
    files = {key: str((path.parent / data[key]).resolve()) for key in ("path", "suite")}
    kept = {key: value for key, value in recipe["preprocessing"].items() if key not in (*peer.dropped, *_SHARED)}
    shared = {key: value for key, value in wanted["preprocessing"].items() if key in _SHARED}
    label = {"label": "label"} if "label" not in shared else {}
    return recipe | {"data": data | files, "preprocessing": kept | label | shared | peer.preprocessing}


def _row(name: str, network: str, folder: Path, path: Path, *changes: str, than: Manifest | None = None) -> Manifest:
    """Run a recipe, print its row, and return its evaluation."""
    started = time.perf_counter()
    run = run_recipe(path, folder, *changes)
    seconds = time.perf_counter() - started
    store = open_store(f"file://{folder}")
    evaluation = evaluation_of(store, run)
    figures = [f"{evaluation.info['metrics'][metric]:.3f}" for metric in ("accuracy", "loss")]
    difference = better_by(store, than, evaluation) if than is not None else ""
    print(" | ".join(["", name, network, f"{seconds:.0f}", *figures, difference, ""]).strip(), flush=True)
    return evaluation


if __name__ == "__main__":
    main()
