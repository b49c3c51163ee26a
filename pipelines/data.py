"""`modelmill data`: what can be asked of data outside a run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.common.errors import UserError
from pipelines.printing import DEFAULT_STORE, AsJson, StoreUri, print_json, printable

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Ask something of data outside a run.")

RunId = Annotated[str | None, typer.Argument(help="The run; the latest if not given.")]


@app.command(epilog="Example: modelmill data validate data/python-lm --suite recipes/suites/python-lm.json")
def validate(
    path: Annotated[str, typer.Argument(help="A folder, a file, a glob pattern or s3://BUCKET/PREFIX.")],
    suite: Annotated[Path, typer.Option("--suite", help="A Great Expectations suite, JSON.")],
    format_: Annotated[str, typer.Option("--format", help="auto, jsonl, csv, parquet or text.")] = "auto",
    docs: Annotated[Path | None, typer.Option("--docs", help="Write the Data Docs into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold data against a suite, as the first step of a run does; ends with 0 if it keeps it, else with 3."""
    from components.common import recipe as recipes
    from components.common import shards

    contract = recipes.read_suite(suite, where="--suite")
    if format_ not in ("auto", *shards.FORMATS.values()):
        raise UserError(f"--format {format_}: auto, jsonl, csv, parquet or text")
    found = shards.find(path, format_)
    # Great Expectations takes seconds to import; what is wrong with the arguments is said before.
    from components.data_validation.contract import judge

    judged = judge(path, found, contract, lambda done, total, text: None)
    if docs is not None:
        _write(docs / "data_docs.html", judged.data_docs())
    if as_json:
        info = judged.dataset.info
        print_json({"success": judged.success, "shards": len(found), "rows": info["rows"], "result": judged.result})
    else:
        _show(judged.findings())
        rows, named = judged.dataset.info["rows"], "1 shard" if len(found) == 1 else f"{len(found)} shards"
        print(f"{rows:,} rows in {named}: the contract is {'kept' if judged.success else 'broken'}")
    raise typer.Exit(0 if judged.success else 3)


@app.command(epilog="Example: modelmill data quarantine")
def quarantine(run_id: RunId = None, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the shards that a run left out, and why."""
    run, found = _quarantined(store, run_id)
    if as_json:
        print_json({"run_id": run, "shards": found})
        return
    for shard in found:
        rows = "unreadable" if shard["rows"] is None else "1 row" if shard["rows"] == 1 else f"{shard['rows']:,} rows"
        print(f"{printable(shard['path'])}  {rows}  {printable(shard['why'])}")
    print(f"run {run}: {len(found)} {'shard' if len(found) == 1 else 'shards'} quarantined")


@app.command(epilog="Example: modelmill data show part-00.jsonl")
def show(
    shard: Annotated[str, typer.Argument(help="The shard's path, as data quarantine lists it.")],
    run_id: Annotated[str | None, typer.Option("--run", help="The run; the latest if not given.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Print why a shard was quarantined, with samples of its bad rows."""
    run, found = _quarantined(store, run_id)
    chosen = next((one for one in found if one["path"] == shard), None)
    if chosen is None:
        known = ", ".join(one["path"] for one in found[:5]) or "none"
        raise UserError(f"{shard}: not quarantined in run {run}; quarantined are: {known}")
    if as_json:
        print_json(chosen)
        return
    print(f"{printable(chosen['path'])}: {printable(chosen['why'])}")
    for sample in chosen["samples"]:
        print(f"row {sample['row']}  {json.dumps(sample['value'], ensure_ascii=True)}  {printable(sample['rule'])}")


def _quarantined(store: str, run_id: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The run, and what it or the validation that it reused left out."""
    from components.common import manifest, runs
    from components.common.store import KeyNotFound, open_store

    opened = open_store(store)
    known = runs.run_ids(opened)
    chosen = run_id or (known[-1] if known else "")
    if chosen not in known:
        latest = f"the latest is {known[-1]}" if known else "there are none yet; start one with modelmill run RECIPE"
        raise UserError(f"--store {store}: no run {run_id or ''}; {latest}".replace("no run ;", "no runs;"))
    record = runs.read_step(opened, chosen, "data_validation")
    made = manifest.load(opened, record.outputs["validation"]) if record and record.outputs else None
    entry = next((e for e in made.entries if e.path == runs.QUARANTINE), None) if made else None
    try:
        key = f"runs/{chosen}/validation/{runs.QUARANTINE}"
        data = manifest.read_entry(opened, entry) if entry else opened.get(key)
    except KeyNotFound:
        return chosen, []
    return chosen, list(json.loads(data)["shards"])


def _show(findings: list[tuple[bool, str, str]]) -> None:
    console = Console()
    for holds, name, finding in findings:
        console.print("[green]ok  [/]" if holds else "[red]bad [/]", end=" ")
        console.print(f"{name}  {finding}", markup=False, highlight=False, soft_wrap=True)


def _write(file: Path, page: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(page)
    except OSError as error:
        raise UserError(f"--docs {file.parent}: cannot be written ({error.strerror})") from error
