"""`modelmill data`: what can be asked of data outside a run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.data.shards import FORMATS, Shard
from modelmill.pipelines.display import columns as profiles
from modelmill.pipelines.display.text import DEFAULT_STORE, AsJson, StoreUri, print_json, printable

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Ask something of data outside a run.")

Media = Annotated[str | None, typer.Option("--media", help="The shards name files of this kind: images or audio.")]
_MOST_FILES = 10
RunId = Annotated[str | None, typer.Argument(help="The run; the latest if not given.")]


@app.command(epilog="Example: modelmill data validate data/python-lm --suite recipes/suites/python-lm.json")
def validate(
    path: Annotated[str, typer.Argument(help="A folder, a file, a glob pattern or s3://BUCKET/PREFIX.")],
    suite: Annotated[Path, typer.Option("--suite", help="A Great Expectations suite, JSON.")],
    format_: Annotated[str, typer.Option("--format", help="auto, jsonl, csv, parquet or text.")] = "auto",
    media: Media = None,
    docs: Annotated[Path | None, typer.Option("--docs", help="Write the Data Docs into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold data against a suite, as the first step of a run does; ends with 0 if it keeps it, else with 3."""
    from modelmill import recipe as recipes

    contract = recipes.read_suite(suite, where="--suite")
    from modelmill.components.data_validation.api import judge, parse

    parse(contract)  # what it cannot be held against is said before a byte of the data is read
    found = _find(path, format_, media)
    judged = judge(path, found, contract, lambda done, total, text: None)
    if docs is not None:
        _write(f"--docs {docs}", docs / "data_docs.html", judged.data_docs())
    if as_json:
        info = judged.dataset.info
        said = {"success": judged.success, "shards": len(found), "rows": info["rows"], "result": judged.result}
        print_json(said | ({"unusable": judged.unusable} if media else {}))
    else:
        _show(judged.findings())
        _list_unusable(judged.unusable[:_MOST_FILES])
        rows, named = judged.dataset.info["rows"], "1 shard" if len(found) == 1 else f"{len(found)} shards"
        print(f"{rows:,} rows in {named}: the contract is {'kept' if judged.success else 'broken'}")
    raise typer.Exit(0 if judged.success else 3)


@app.command(epilog="Example: modelmill data profile data/python-lm -o suite.json")
def profile(
    path: Annotated[str, typer.Argument(help="A folder, a file, a glob pattern or s3://BUCKET/PREFIX.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a suite to edit into this file.")] = None,
    format_: Annotated[str, typer.Option("--format", help="auto, jsonl, csv, parquet or text.")] = "auto",
    media: Media = None,
    as_json: AsJson = False,
) -> None:
    """Show what the columns of data look like, and draft a suite that they keep."""
    if output is not None and output.exists():
        raise UserError(f"-o {output}: is there already, and may have been edited; take another name or remove it")
    found = _find(path, format_, media)
    from modelmill.components.data_validation.api import draft

    drafted = draft(path, found, output.stem if output else "suite", lambda done, total, text: None)
    if output is not None:
        _write(f"-o {output}", output, (json.dumps(drafted.suite, indent=2) + "\n").encode())
    if as_json:
        print_json(profiles.as_json(drafted))
        return
    Console().print(profiles.table(drafted))
    rows, count = drafted.profile.rows, len(drafted.suite["expectations"])
    print(f"{rows:,} rows" + (f"; a suite of {count} expectations is in {output}: edit it" if output else ""))


@app.command(epilog="Example: modelmill data drift recipes/python-lm.yaml")
def drift(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key: section.key=value.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Hold a recipe's data against that of its registered model; ends with 3 if it has drifted, else with 0."""
    from modelmill import recipe as recipes
    from modelmill.store import open_store

    loaded, opened = recipes.load(recipe, set_), open_store(store)
    found = shards.of(loaded.data)
    from modelmill.components.data_validation.api import of_recipe

    model = loaded.registration.model
    compared = of_recipe(loaded, found, opened)
    if compared is None:
        raise UserError(f"--store {store}: no version of {model} is registered from it; modelmill run {recipe} first")
    version, measured = compared
    if as_json:
        print_json({"model": model, "version": version, **measured.to_json()})
    else:
        Console().print(profiles.drift_table(measured))
        for name in measured.skipped:
            print(f"{printable(name)}: too few values to compare in full (data.drift.minimum)")
        said = "has drifted" if measured.drifted else "has not drifted"
        print(f"the data {said} from that of {model} version {version}: largest PSI {measured.value:.3f}")
    raise typer.Exit(3 if measured.drifted else 0)


@app.command(epilog="Example: modelmill data quarantine")
def quarantine(run_id: RunId = None, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the shards that a run left out, and the images or recordings that cannot be used, and why."""
    run, left_out = _quarantined(store, run_id)
    if as_json:
        print_json({"run_id": run, **left_out})
        return
    found, unusable = left_out["shards"], left_out["files"]
    _list_unusable(unusable)
    for shard in found:
        rows = "unreadable" if shard["rows"] is None else "1 row" if shard["rows"] == 1 else f"{shard['rows']:,} rows"
        print(f"{printable(shard['path'])}  {rows}  {printable(shard['why'])}")
    print(f"run {run}: {len(found)} {'shard' if len(found) == 1 else 'shards'} quarantined" + _rows(len(unusable)))


@app.command(epilog="Example: modelmill data show part-00.jsonl")
def show(
    shard: Annotated[str, typer.Argument(help="The shard's path, as data quarantine lists it.")],
    run_id: Annotated[str | None, typer.Option("--run", help="The run; the latest if not given.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Print why a shard was quarantined, with samples of its bad rows."""
    run, left_out = _quarantined(store, run_id)
    found = left_out["shards"]
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


def _find(path: str, format_: str, media: str | None) -> list[Shard]:
    """Rows whose file cannot be used are kept, as not readable: they are what is asked about."""
    if format_ not in ("auto", *FORMATS.values()):
        raise UserError(f"--format {format_}: auto, jsonl, csv, parquet or text")
    if media not in (None, "images", "audio"):
        raise UserError(f"--media {media}: images or audio")
    if media and format_ == "text":
        raise UserError(f"--format text: a manifest of {media} is jsonl, csv or parquet")
    return shards.find(path, format_, media)  # type: ignore[arg-type]


def _quarantined(store: str, run_id: str | None) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """The run, and what it or the validation that it reused left out."""
    from modelmill.runtime import run_records
    from modelmill.store import KeyNotFound, manifest, open_store

    opened = open_store(store)
    known = run_records.run_ids(opened)
    chosen = run_id or (known[-1] if known else "")
    if chosen not in known:
        latest = f"the latest is {known[-1]}" if known else "there are none yet; start one with modelmill run RECIPE"
        raise UserError(f"--store {store}: no run {run_id or ''}; {latest}".replace("no run ;", "no runs;"))
    record = run_records.read_step(opened, chosen, "data_validation")
    made = manifest.load(opened, record.outputs["validation"]) if record and record.outputs else None
    entry = next((e for e in made.entries if e.path == run_records.QUARANTINE), None) if made else None
    try:
        key = f"runs/{chosen}/validation/{run_records.QUARANTINE}"
        data = manifest.read_entry(opened, entry) if entry else opened.get(key)
    except KeyNotFound:
        return chosen, {"shards": [], "files": []}
    return chosen, {"files": [], **json.loads(data)}


def _list_unusable(unusable: list[dict[str, Any]]) -> None:
    for one in unusable:
        print(f"{printable(one['file'])}  {printable(one['shard'])} row {one['row']}  {printable(one['why'])}")


def _rows(count: int) -> str:
    return f", {count} {'row' if count == 1 else 'rows'} with an unusable file left out" if count else ""


def _show(findings: list[tuple[bool, str, str]]) -> None:
    console = Console()
    for holds, name, finding in findings:
        console.print("[green]ok  [/]" if holds else "[red]bad [/]", end=" ")
        console.print(f"{name}  {finding}", markup=False, highlight=False, soft_wrap=True)


def _write(where: str, file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    except OSError as error:
        raise UserError(f"{where}: cannot be written ({error.strerror})") from error
