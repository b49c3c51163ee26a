"""`modelmill schedule diff | apply`: the cluster's recurring runs as schedules.yaml has them."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from components.common.errors import ModelmillError, UserError, one_line
from pipelines.cluster.settings import DEFAULT_CLUSTER, Cluster, ClusterFile
from pipelines.printing import AsJson, complain, print_json

if TYPE_CHECKING:
    from pipelines.cluster.schedule_versions import Compiled
    from pipelines.cluster.scheduling import Change, Wanted

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run recipes again and again on a cluster.")

File = Annotated[Path, typer.Argument(metavar="[FILE]", help="The schedules, a YAML file.")]


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="schedule")


@app.command(epilog="Example: modelmill schedule diff schedules.yaml --cluster cluster.yaml")
def diff(
    file: File = Path("schedules.yaml"),
    cluster: ClusterFile = Path(DEFAULT_CLUSTER),
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if there are differences.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what apply would change; nothing is changed and nothing is uploaded."""
    from pipelines.cluster import scheduling

    settings, wanted, _ = _wanted(file, cluster)
    with _talking(settings):
        client = _client(settings)
        experiment_id = _experiment(client, settings)
        found = scheduling.existing(client, experiment_id) if experiment_id is not None else []
    changes = scheduling.difference(wanted, found)
    _show(changes, as_json, is_applied=False)
    raise typer.Exit(1 if changes and exit_code else 0)


@app.command(epilog="Example: modelmill schedule apply schedules.yaml --cluster cluster.yaml")
def apply(
    file: File = Path("schedules.yaml"), cluster: ClusterFile = Path(DEFAULT_CLUSTER), as_json: AsJson = False
) -> None:
    """Make the cluster agree with the file: create, replace, switch on and off, delete what is ours and not in it.

    Applying again changes nothing, and repairs what an apply that was interrupted has left.
    """
    from pipelines.cluster import schedule_versions, scheduling

    settings, wanted, versions = _wanted(file, cluster)
    with _talking(settings):
        client = _client(settings)
        experiment_id = _experiment(client, settings) or _made(client, settings)
        changes = scheduling.difference(wanted, scheduling.existing(client, experiment_id))
        uploaded = {
            one.wanted.version: schedule_versions.upload(client, versions[one.wanted.version])
            for one in changes
            if one.wanted is not None
        }
        for change in changes:
            version = uploaded[change.wanted.version] if change.wanted is not None else None
            scheduling.carry_out(client, experiment_id, change, version)
    _show(changes, as_json, is_applied=True)


def _wanted(file: Path, cluster: Path) -> "tuple[Cluster, list[Wanted], dict[str, Compiled]]":
    """The cluster, the recurring runs it is to have, and what they run by digest; nothing is asked of the cluster."""
    from datetime import UTC, datetime

    from pipelines.cluster import cron, schedule_versions, schedules, scheduling, settings, zones

    loaded = settings.load(cluster)
    try:
        scheduler = zones.zone(loaded.kfp.time_zone)
    except ValueError as error:
        raise UserError(f"{cluster}: kfp.time_zone: {error}") from None
    now, wanted, versions = datetime.now(UTC), [], {}
    for one in schedules.load(file):
        try:
            parts = zones.parts(cron.parse(one.cron), zones.zone(one.time_zone), scheduler, now)
        except ValueError as error:
            raise UserError(
                f"{file}: {one.name}: {one.cron!r} in {one.time_zone} {error} ({scheduler.key}); choose another hour, "
                f"or give KFP that zone (CRON_SCHEDULE_TIMEZONE) and set kfp.time_zone in {cluster}"
            ) from None
        made = schedule_versions.compiled(one, loaded)
        versions[made.digest] = made
        wanted += [
            scheduling.Wanted(
                *(one.name, part, made.name, made.digest, loaded.kfp.service_account),
                *(one.max_concurrency, one.catch_up, one.enabled),
                text=f"{Path(one.recipe).name}, {one.cron} {one.time_zone}",
            )
            for part in parts
        ]
    return loaded, wanted, versions


def _client(cluster: Cluster) -> Any:
    import os
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        token = os.environ.get("MODELMILL_KFP_TOKEN")
        if token is None and cluster.kfp.token_file is not None:
            try:
                token = Path(cluster.kfp.token_file).read_text("utf-8").strip()
            except OSError as error:
                raise UserError(f"kfp.token_file {cluster.kfp.token_file}: {error.strerror}") from None
        return kfp.Client(host=cluster.kfp.host, namespace=cluster.kfp.namespace, existing_token=token)


def _experiment(client: Any, cluster: Cluster) -> str | None:
    try:
        found = client.get_experiment(experiment_name=cluster.kfp.experiment, namespace=cluster.kfp.namespace)
    except ValueError as error:
        if "No experiment" in str(error):
            return None
        raise UserError(f"kfp.experiment {cluster.kfp.experiment}: {error}") from None
    return str(found.experiment_id)


def _made(client: Any, cluster: Cluster) -> str:
    made = client.create_experiment(name=cluster.kfp.experiment, namespace=cluster.kfp.namespace)
    return str(made.experiment_id)


@contextlib.contextmanager
def _talking(cluster: Cluster) -> Iterator[None]:
    """What the client prints is kept from standard output, and its errors become one line."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    again = "; what is done stays done, apply again goes on"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except ApiException as error:
        if error.status in (401, 403):
            raise UserError(
                f"{cluster.kfp.host}: {error.status} {error.reason}: set MODELMILL_KFP_TOKEN to a token that is valid"
            ) from None
        raise ModelmillError(
            f"{cluster.kfp.host}: {error.status} {error.reason}: {one_line(Exception(error.body or ''))[:300]}{again}"
        ) from None
    except (HTTPError, OSError) as error:
        raise ModelmillError(f"{cluster.kfp.host}: KFP cannot be reached: {one_line(error)[:300]}{again}") from None


def _show(changes: "list[Change]", as_json: bool, is_applied: bool) -> None:
    from rich.table import Table

    rows = [
        {
            "action": one.action,
            "schedule": one.schedule,
            "reason": one.reason,
            "cron": one.wanted.part.line if one.wanted is not None else None,
            "recurring_run": one.id,
        }
        for one in changes
    ]
    if as_json:
        print_json({"applied": is_applied, "changes": rows})
    elif not rows:
        print("nothing to change")
    else:
        table = Table("action", "schedule", "reason", "cron of KFP", "recurring run", box=None)
        for row in rows:
            table.add_row(*(value or "" for value in row.values()))
        Console().print(table)
        if not is_applied:
            complain("nothing is changed yet; modelmill schedule apply does it")
