"""`modelmill lr-find`: what comes before a stage is found or made, then learning rates are tried."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.pipelines import run as running
from modelmill.pipelines.planning.plan import plan
from modelmill.pipelines.writing import writing
from modelmill.recipe import Recipe
from modelmill.runtime import run_records
from modelmill.runtime.run_records import StepRecord
from modelmill.store import KeyNotFound, Store

STAGES = ("pretraining", "fine_tuning")
# The recipe takes no higher rate.
HIGHEST = 100


class Sweep(NamedTuple):
    """Learning rates from low to high in so many steps, each the same multiple of the one before."""

    low: float
    high: float
    steps: int


def check(sweep: Sweep, output: Path) -> None:
    """Find what can be found wrong before any work.

    Args:
        sweep: The rates to try.
        output: The page to write.

    Raises:
        UserError: The rates, the number of steps, or the file to write.
    """
    if not 0 < sweep.low < sweep.high <= HIGHEST:
        raise UserError(f"--from {sweep.low:g} --to {sweep.high:g}: rates rise, from above 0 to at most {HIGHEST}")
    if sweep.steps < 2:
        raise UserError(f"--steps {sweep.steps}: a curve takes at least 2, and says something from about 50 on")
    is_new = not output.exists()
    with writing(f"--output {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.open("a").close()
    if is_new:
        output.unlink()


def choose_stage(recipe: Recipe, asked: str | None) -> str:
    """Return the stage that was asked for, else the first that the recipe has.

    Args:
        recipe: The resolved recipe.
        asked: A stage's name.

    Raises:
        UserError: The recipe leaves that stage out.
    """
    there = [stage for stage in STAGES if getattr(recipe, stage) is not None]
    if asked is not None and asked not in there:
        raise UserError(f"--stage {asked}: the recipe leaves it out (none); take --stage {there[0]}")
    return asked or there[0]


def try_rates(
    recipe: Recipe,
    store: Store,
    stage: str,
    sweep: Sweep,
    command: list[str],
    watch: Callable[[list[StepRecord]], None],
) -> tuple[str, dict[str, Any] | None]:
    """Try the rates; a run that fails is kept with its log and report, one that does not is forgotten.

    Args:
        recipe: The resolved recipe.
        store: Where the steps before the stage are kept.
        stage: The step whose model is trained.
        sweep: The rates to try.
        command: As in `run.execute`.
        watch: As in `run.execute`.

    Returns:
        The run's id, and `rows` (`rate`, `loss`, `smoothed`), `steepest`, `lowest` and `suggestion`; None if it failed.
    """
    run_id = running.start(recipe, store, command, plan(recipe, store))
    try:
        asked = {"stage": stage, "sweep": sweep._asdict()}
        running.wait_for("modelmill.pipelines.runners.lr_find", recipe, store, run_id, watch, **asked)
    except KeyboardInterrupt:
        run_records.forget(store, run_id)
        raise
    watch(running.records(store, run_id))
    try:
        curve = json.loads(store.get(run_records.lr_find_key(run_id)))
    except KeyNotFound:
        running.report(recipe, store, run_id)
        return run_id, None
    run_records.forget(store, run_id)
    return run_id, curve


def command_with(recipe: Path, options: list[str], stage: str, curve: dict[str, Any]) -> str | None:
    """Return the command that runs the recipe with the suggested rate; None without a suggestion.

    Args:
        recipe: The recipe's file.
        options: Options that the user gave.
        stage: The step that the rate is for.
        curve: The result of `try_rates`.
    """
    if curve["suggestion"] is None:
        return None
    return shlex.join(
        ["modelmill", "run", str(recipe), *options, "--set", f"{stage}.learning_rate={curve['suggestion']:.2g}"]
    )


def draw(output: Path, recipe: Recipe, stage: str, curve: dict[str, Any], use: str | None) -> None:
    """Write the page with the curve.

    Args:
        output: The file.
        recipe: The resolved recipe.
        stage: The step that the rate is for.
        curve: The result of `try_rates`.
        use: The command that `command_with` returned.

    Raises:
        UserError: The file cannot be written.
    """
    from modelmill.components.reporting.api import render_rates

    page = render_rates(recipe.name, stage, getattr(recipe, stage), curve, headline(curve), use)
    with writing(f"--output {output}"):
        output.write_text(page, "utf-8")


def headline(curve: dict[str, Any]) -> str:
    """Return the suggestion, or why there is none, in a sentence."""
    if curve["suggestion"] is None:
        first, last = (curve["rows"][at]["rate"] for at in (0, -1))
        return f"No suggestion: the loss did not fall from {first:.1e} to {last:.1e}; try other rates, or more steps"
    return (
        f"Suggested learning rate: {curve['suggestion']:.2g}; the loss falls fastest at {curve['steepest']:.2g} "
        f"and is lowest at {curve['lowest']:.2g}"
    )
