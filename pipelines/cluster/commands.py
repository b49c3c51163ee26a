"""`modelmill submit | status | logs | resume | cancel`: a cluster's runs from the command line."""

import shlex
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster.settings import DEFAULT_CLUSTER, ClusterFile, load
from modelmill.pipelines.display.text import AsJson, IfChanged, Overrides, complain, print_json, printable

_DEFAULT = Path(DEFAULT_CLUSTER)
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as submit and status print it.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run to its end, and end as it does.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: modelmill submit recipes/python-lm.yaml --cluster cluster.yaml --wait")(submit)
    app.command(epilog="Example: modelmill status --cluster cluster.yaml")(status)
    app.command(epilog="Example: modelmill logs RUN --step pretraining --cluster cluster.yaml")(logs)
    app.command(epilog="Example: modelmill resume RUN --cluster cluster.yaml --wait")(resume)
    app.command(epilog="Example: modelmill cancel RUN --cluster cluster.yaml")(cancel)


def submit(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    wait: Wait = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the run.")] = "",
    if_changed: IfChanged = False,
    overrides: Overrides = None,
    cluster: ClusterFile = _DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Start a run of a recipe on a cluster; the pipeline is uploaded if the cluster does not have it.

    With --wait it ends with 0 when the model is registered, 3 when the data or the model failed its gate, and 1 when
    anything else failed; 2 is a mistake in what was given.
    """
    from modelmill import recipe as recipes
    from modelmill.champion.champion_state import who
    from modelmill.pipelines.cluster import submitting

    described = load(cluster)
    submitted = submitting.submit(recipes.load(recipe, overrides), described, who(), reason, cluster, if_changed)
    _started(submitted, described, cluster, wait, as_json)


def resume(run_id: RunId, wait: Wait = False, cluster: ClusterFile = _DEFAULT, as_json: AsJson = False) -> None:
    """Go on with a run that has ended: a new run of the same version, in which finished steps are reused."""
    from modelmill.champion.champion_state import who
    from modelmill.pipelines.cluster import submitting

    described = load(cluster)
    submitted = submitting.resume(run_id, described, who(), cluster)
    if not as_json:
        print(f"resumes {run_id}")
    _started(submitted, described, cluster, wait, as_json)


def status(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run; the newest if not given.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=1000, help="How many runs to list.")] = 10,
    cluster: ClusterFile = _DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the newest runs of a cluster, or show one with its steps."""
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, reach, submitting

    described = load(cluster)
    with clients.connected(described) as client:
        if run_id is None:
            found = [following.listed(run, described) for run in following.recent(client, described, most)]
            print_json({"runs": found}) if as_json else _list(found)
            return
        run = submitting.get_run(client, run_id)
    shown = following.shown(run, reach.store_of(described)[0], described)
    print_json(shown) if as_json else _show(shown)


def logs(
    run_id: RunId,
    step: Annotated[str | None, typer.Option("--step", help="One step, as pretraining; all if not given.")] = None,
    cluster: ClusterFile = _DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Print what a run's steps have said: their logs in the store, else the errors that KFP has."""
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, reach, submitting

    described = load(cluster)
    with clients.connected(described) as client:
        run = submitting.get_run(client, run_id)
    found = following.logs(run, reach.store_of(described)[0], step.replace("-", "_") if step else None)
    if as_json:
        print_json({"run_id": run_id, "logs": found})
        return
    for name, text in found.items():
        if step is None:
            print(f"== {name}")
        print("\n".join(printable(line) for line in text.splitlines()))


def cancel(run_id: RunId, cluster: ClusterFile = _DEFAULT, as_json: AsJson = False) -> None:
    """Stop a run; what its steps have finished or saved is kept, and resume goes on from there."""
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, submitting

    described = load(cluster)
    with clients.connected(described) as client:
        run = submitting.get_run(client, run_id)
        if run.state in following.ENDED:
            raise UserError(f"{run_id}: has ended already ({run.state.lower()})")
        clients.retried(lambda: client.terminate_run(run_id))
    again = _command("resume", run_id, cluster)
    if as_json:
        print_json({"run_id": run_id, "state": "CANCELING", "resume": again})
    else:
        print(f"{run_id}: is being cancelled; again: {again}")


def _started(submitted: Any, described: Any, cluster: Path, wait: bool, as_json: bool) -> None:
    """Say what was started; with `wait`, follow it and end as it does."""
    if submitted.note:
        complain(f"note: {submitted.note}")
    if not wait:
        if as_json:
            print_json(submitted._asdict())
        else:
            print(f"run {submitted.run_id}, version {submitted.version}\n{submitted.link}")
            print(f"follow: {_command('status', submitted.run_id, cluster)}")
        return
    if not as_json:
        print(f"run {submitted.run_id}, version {submitted.version}\n{submitted.link}", flush=True)
    _follow(submitted, described, cluster, as_json)


def _follow(submitted: Any, described: Any, cluster: Path, as_json: bool) -> NoReturn:
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, reach
    from modelmill.pipelines.display import steps as show

    run_id, store = submitted.run_id, reach.store_of(described)[0]
    try:
        with clients.connected(described) as client, show.watcher(Console(stderr=True)) as watcher:
            run = following.follow(client, run_id, store, watcher.watch)
    except KeyboardInterrupt:
        complain(f"the run goes on; {_command('status', run_id, cluster)} shows it, cancel stops it")
        raise typer.Exit(130) from None
    shown = {**following.shown(run, store, described), "version": submitted.version}
    print_json(shown) if as_json else show.run_table(Console(), shown)
    if shown["exit_code"] != 0:
        complain(f"{shown['failed_step'] or 'run'}: {shown['reason']}")
        logs, again = _command("logs", run_id, cluster), _command("resume", run_id, cluster)
        complain(f"log: {logs}; again: {again}")
    raise typer.Exit(shown["exit_code"])


def _list(found: list[dict[str, Any]]) -> None:
    if not found:
        print("no runs yet; start one with modelmill submit RECIPE")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "state", "created", "asked for"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "run")
    for run in found:
        created = (run["created"] or "")[:19].replace("T", " ")
        cells = (run["run_id"], run["name"], run["state"] or "", created, run["description"])
        table.add_row(*(escape(printable(str(cell))) for cell in cells))
    Console().print(table)


def _show(shown: dict[str, Any]) -> None:
    from modelmill.pipelines.display import steps as show

    said = f"{shown['run_id']}  {shown['name']}  {shown['state']}"
    print(printable(f"{said}: {shown['outcome']}" if shown["outcome"] else said))
    if shown["description"]:
        print(printable(shown["description"]))
    print(shown["link"])
    show.run_table(Console(), shown)
    if shown["reason"]:
        print(printable(f"{shown['failed_step'] or 'run'}: {shown['reason']}"))


def _command(verb: str, run_id: str, cluster: Path) -> str:
    return shlex.join(["modelmill", verb, run_id, "--cluster", str(cluster)])
