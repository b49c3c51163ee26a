"""`make bench-tasks`: every recipe as shipped, and without pretraining."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from modelmill import recipe as recipes
from modelmill.champion.comparison.decision import decide_between
from modelmill.pipelines import demo_data
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Manifest

ROOT = Path(__file__).parents[1]
NAMES = sorted(file.stem for file in (ROOT / "recipes").glob("*.yaml"))
HEADER = """
| recipe | seconds | parameters | measure | baseline | random initialisation | fine-tuned | better by, 95 % |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("recipes", nargs="*", default=NAMES, metavar="recipe", help=", ".join(NAMES))
    arguments.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep each recipe's store there, with its reports"
    )
    chosen = arguments.parse_args()
    print(machine())
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as passing:
        for name in chosen.recipes:
            print(_row(name, (chosen.keep or Path(passing)).absolute() / name), flush=True)


def _row(name: str, folder: Path) -> str:
    """Run the recipe with its store in a folder, and again without pretraining where it trains from nothing.

    Data, fine-tuning and seed are the same in both. Recipes that start from given weights: `benchmarks.few_labels`.
    """
    path = ROOT / "recipes" / f"{name}.yaml"
    recipe = recipes.load(path)
    make_demo(name)
    started = time.perf_counter()
    run = run_recipe(path, folder)
    seconds = time.perf_counter() - started
    store = open_store(f"file://{folder}")
    tuned = evaluation_of(store, run)
    check = headline_of(store, tuned)
    random, difference = "", ""
    if recipe.pretraining is not None and recipe.pretraining.init == "random":
        scratch = evaluation_of(store, run_recipe(path, folder, "--set", "pretraining=none"))
        random = f"{scratch.info['metrics'][check['metric']]:.3f}"
        difference = better_by(store, tuned, scratch)
    parameters = next(s for s in run["steps"] if s["name"] == "fine_tuning")["metrics"]["parameters"]
    columns = [name, f"{seconds:.0f}", f"{parameters:,.0f}", check["metric"], _baseline(check), random]
    return " | ".join(["", *columns, f"{tuned.info['metrics'][check['metric']]:.3f}", difference, ""]).strip()


def make_demo(name: str) -> None:
    """Make the data of a recipe that ships, and the model that it starts from."""
    pretraining = recipes.load(ROOT / "recipes" / f"{name}.yaml").pretraining
    demos = [["demo-data", name]] if name in demo_data.known() else []
    if pretraining is not None and pretraining.init != "random":
        demos.append(["demo-model", Path(pretraining.init).name])
    for demo in demos:
        subprocess.run(_modelmill(*demo), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _modelmill(*words: str) -> list[str]:
    return [sys.executable, "-m", "modelmill.pipelines.cli", *words]


def run_recipe(path: Path, folder: Path, *changes: str) -> dict[str, Any]:
    """Return what `modelmill run --json` prints; a gate that is missed (exit code 3) is a result as well."""
    command = [*_modelmill("run", str(path)), "--store", f"file://{folder}", "--json", *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode not in (0, 3):
        sys.exit(f"{path.name}: {done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def evaluation_of(store: Store, run: dict[str, Any]) -> Manifest:
    """Return the evaluation of a run."""
    return manifest.load(store, next(s["output_digest"] for s in run["steps"] if s["name"] == "evaluation"))


def headline_of(store: Store, evaluation: Manifest) -> dict[str, Any]:
    """Return the check against the nearest baseline, of the metric that models are compared by if it has one."""
    gate = json.loads(manifest.read_entry(store, evaluation.entry("gate.json")))
    metric = evaluation.info["comparison"]["metric"]
    held = [check for check in gate["checks"] if "baseline" in check]
    mine = [check for check in held if check["metric"] == metric] or held
    return min(mine, key=lambda check: abs(check["value"] - _bound(check))) if mine else {"metric": metric}


def _bound(check: dict[str, Any]) -> float:
    return float(check["min"] if check["max"] is None else check["max"])


def _baseline(check: dict[str, Any]) -> str:
    return f"{check['baseline']} {_bound(check):.3f}" if "baseline" in check else ""


def better_by(store: Store, tuned: Manifest, scratch: Manifest) -> str:
    """Return how much better a model is than another in the compared metric, by paired bootstrap."""
    numbers = decide_between(store, tuned, scratch, tuned.info["comparison"] | {"minimum": 1})["numbers"]
    return f"{numbers['low']:+.3f} to {numbers['high']:+.3f} ({numbers['metric']}, {numbers['examples']:,} examples)"


if __name__ == "__main__":
    main()
