"""The command line: `modelmill run | plan | lr-find | compile | demo-data | report | doctor` and the other commands."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines import registry, use
from modelmill.pipelines.cluster import commands as cluster_commands
from modelmill.pipelines.cluster import schedule_commands
from modelmill.pipelines.data import app as data_app
from modelmill.pipelines.display.text import DEFAULT_STORE, AsJson, IfChanged, Overrides, StoreUri, complain, print_json
from modelmill.pipelines.trigger import commands as trigger

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn a folder of data into a model that has earned its place in a registry.",
    epilog="Example: modelmill run recipes/python-lm.yaml",
)
app.add_typer(data_app, name="data")

Recipe = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]


class Runner(str, Enum):
    """Where the steps run."""

    subprocess = "subprocess"
    docker = "docker"


class Stage(str, Enum):
    """The steps that train."""

    pretraining = "pretraining"
    fine_tuning = "fine_tuning"


@app.command(epilog="Example: modelmill run recipes/python-lm.yaml --set fine_tuning.steps=50")
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    runner: Annotated[Runner, typer.Option("--runner", help="Where the steps run.")] = Runner.subprocess,
    if_changed: IfChanged = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe from its data to a registered model; what is unchanged is reused.

    Ends with 0 when the model is registered or there was nothing to do, 2 for a mistake in what was given, 3 when the
    data or the model failed its gate, and 1 when anything else failed.
    """
    from modelmill.pipelines import run as running
    from modelmill.pipelines.display import steps as show

    loaded, opened = _open(recipe, overrides, store)
    if runner is Runner.docker:
        from modelmill.pipelines.runners import containers

        containers.check(loaded, opened)
    running.check(loaded, opened)
    try:
        with show.watcher(Console(stderr=True)) as watcher:
            command = ["modelmill", *sys.argv[1:]]
            run_id = running.execute(loaded, opened, runner.value, command, watcher.watch, if_changed)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(130) from None
    _end(opened, run_id, store, as_json)


@app.command(epilog="Example: modelmill plan recipes/python-lm.yaml --set fine_tuning.learning_rate=1e-3")
def plan(recipe: Recipe, overrides: Overrides = None, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show which steps a run would run, why, and what training would cost; nothing is run and nothing is written."""
    from modelmill.pipelines.display import steps as show
    from modelmill.pipelines.planning import estimates
    from modelmill.pipelines.planning import plan as planning

    loaded, opened = _open(recipe, overrides, store)
    planned = planning.plan(loaded, opened)
    costs = estimates.estimate(loaded, opened, planned)
    if as_json:
        known = {name: cost.model_dump() for name, cost in costs.items()}
        steps = [{**step._asdict(), "estimate": known.get(step.name)} for step in planned]
        print_json({"recipe": loaded.name, "steps": steps, "total": estimates.total(costs)})
    else:
        show.plan_table(Console(), planned)
        show.cost_table(Console(), costs)


@app.command("lr-find", epilog="Example: modelmill lr-find recipes/python-lm.yaml --stage fine_tuning")
def lr_find(
    recipe: Recipe,
    stage: Annotated[Stage | None, typer.Option("--stage", help="The first that the recipe has, if not given.")] = None,
    low: Annotated[float, typer.Option("--from", help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="How many rates to try, a batch each.")] = 100,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("lr-find.html"),
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate: train a few batches while the rate rises, and draw how the loss moves.

    The steps before the stage are found finished, or run and kept; of what is tried, nothing is kept.
    """
    from modelmill.pipelines import lr_find as finding
    from modelmill.pipelines import run as running
    from modelmill.pipelines.display import steps as show

    loaded, opened = _open(recipe, overrides, store)
    sweep, chosen = finding.Sweep(low, high, steps), finding.choose_stage(loaded, stage.value if stage else None)
    finding.check(sweep, output)
    running.check(loaded, opened)
    try:
        with show.watcher(Console(stderr=True)) as watcher:
            command = ["modelmill", *sys.argv[1:]]
            run_id, found = finding.find(loaded, opened, chosen, sweep, command, watcher.watch)
    except KeyboardInterrupt:
        complain("stopped; the steps before the stage go on from where they were")
        raise typer.Exit(130) from None
    if found is None:
        _end(opened, run_id, store, as_json)
    given = [word for one in overrides or [] for word in ("--set", one)]
    given += ["--store", store] if store != DEFAULT_STORE else []
    use = finding.command(recipe, given, chosen, found)
    finding.draw(output, loaded, chosen, found, use)
    if as_json:
        print_json({"recipe": loaded.name, "stage": chosen, **found, "command": use, "file": str(output)})
    else:
        finding.show(Console(), found, use, output)


@app.command("compile", epilog="Example: modelmill compile recipes/python-lm.yaml -o python-lm.yaml")
def compile_(
    context: typer.Context,
    recipe: Recipe,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; .yaml.")],
    cluster: Annotated[
        Path | None, typer.Option("--cluster", help="The cluster's file: images, nodes, the store and Secrets by name.")
    ] = None,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    if_changed: IfChanged = False,
    as_json: AsJson = False,
) -> None:
    """Write the recipe's KFP pipeline (IR YAML), to upload to a cluster.

    With --cluster each step gets that cluster's image and the nodes of its profile; without, nothing of a cluster.
    """
    from modelmill.pipelines import compiling

    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"--output {output}: KFP reads .yaml files; give the name that ending")
    if cluster is not None:
        if (source := context.get_parameter_source("store")) is not None and source.name == "COMMANDLINE":
            raise UserError(f"--store {store}: the store is the cluster's; it is in {cluster}")
        compiling.for_cluster(recipe, overrides, cluster, output, if_changed)
    else:
        compiling.for_any(*_open(recipe, overrides, store), output, if_changed)
    size = output.stat().st_size
    print_json({"file": str(output), "bytes": size}) if as_json else print(f"{output}  {size:,} bytes")


@app.command("demo-data", epilog="Example: modelmill demo-data python-lm")
def demo_data(
    name: Annotated[str, typer.Argument(help="The name of a recipe that ships, such as tabular-mlp.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder; data/NAME if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the data that a demo recipe trains on, from what is on this machine; nothing is downloaded."""
    from modelmill.pipelines import demo_data as demos

    files = demos.write(name, output or Path("data") / name)
    size = sum(f.stat().st_size for f in files)
    if as_json:
        print_json({"files": [str(f) for f in files], "bytes": size})
    else:
        print(f"{files[0].parent}  {len(files)} {'file' if len(files) == 1 else 'files'}, {size:,} bytes")


@app.command(epilog="Example: modelmill report")
def report(
    run_id: Annotated[str | None, typer.Argument(help="The run; the latest if not given.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the page to this file.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Print the run's log instead.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="RUN RUN", help="Put two runs beside each other on one page."),
    ] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Say where a run's HTML report is, or write it to a file, or print the run's log, or compare two runs."""
    from modelmill.pipelines.run import log_key, summary
    from modelmill.runtime import run_records
    from modelmill.store import KeyNotFound, open_store

    opened = open_store(store)
    known = run_records.run_ids(opened)
    if not known:
        raise UserError(f"--store {store}: no runs in it yet; start one with modelmill run RECIPE")
    chosen = run_id or known[-1]
    for one in compare or (chosen,):
        if one not in known:
            raise UserError(f"{one}: no such run in {store}; the latest is {known[-1]}")
    if compare is not None:
        from modelmill.pipelines import comparing

        page_of = output or Path("comparison.html")
        comparing.write(opened, *compare, page_of)
        print_json({"runs": list(compare), "file": str(page_of)}) if as_json else print(page_of)
        return
    try:
        page = opened.get(log_key(chosen) if log else run_records.report_key(chosen))
    except KeyNotFound:
        raise UserError(f"{chosen}: the run has no {'log' if log else 'report'}; it may be running still") from None
    if output is not None:
        try:
            output.write_bytes(page)
        except OSError as error:
            raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    if log and output is None:
        sys.stdout.write(page.decode("utf-8", "replace"))
    elif as_json:
        print_json(summary(opened, chosen))
    else:
        key = log_key(chosen) if log else run_records.report_key(chosen)
        print(output or opened.local_path(key) or f"{opened.uri}/{key}")


@app.command(epilog="Example: modelmill doctor recipes/python-lm.yaml --store s3://bucket/prefix")
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe to check as well.")] = None,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    cluster: Annotated[
        Path | None, typer.Option("--cluster", help="Check this cluster file's cluster instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check, one by one, what a run needs: Python, libraries, store, registry, disk, device, and a recipe.

    With --cluster, what a submission needs: the file, profiles, images, KFP and its version, token, namespace, store,
    MLflow, and a recipe.
    """
    from modelmill.pipelines.doctor import examine, examine_cluster

    findings = examine_cluster(cluster, recipe, overrides) if cluster else examine(store, recipe, overrides)
    if as_json:
        print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        console = Console()
        for finding in findings:
            mark = "[green]ok  [/]" if finding.ok else "[red]bad [/]"
            console.print(f"{mark} {finding.name:<10}", end="")
            console.print(f" {finding.message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 2)


registry.register(app)
use.register(app)
cluster_commands.register(app)
schedule_commands.register(app)
trigger.register(app)


def main() -> None:
    """The entry point: errors that a person can act on are one line, with the exit code of their kind."""
    try:
        app()
    except ModelmillError as error:
        if "--json" in sys.argv:
            print_json({"error": {"kind": error.kind, "message": one_line(error)}, "exit_code": error.exit_code})
        complain(one_line(error))
        sys.exit(error.exit_code)


def _end(opened: Any, run_id: str, store: str, as_json: bool) -> NoReturn:
    """Say how a run ended, and end with its exit code."""
    from modelmill.pipelines.display import steps as show
    from modelmill.pipelines.run import summary

    said = summary(opened, run_id)
    if as_json:
        print_json(said)
    else:
        show.run_table(Console(), said)
    if said["exit_code"] != 0:
        complain(f"{said['failed_step'] or 'run'}: {said['reason']}")
        complain(f"log: modelmill report {run_id} --store {store} --log; again: {said['resume']}")
    raise typer.Exit(said["exit_code"])


def _open(recipe: Path, overrides: list[str] | None, store: str) -> tuple[Any, Any]:
    from modelmill import recipe as recipes
    from modelmill.store import open_store

    return recipes.load(recipe, overrides), open_store(store)


if __name__ == "__main__":
    main()
