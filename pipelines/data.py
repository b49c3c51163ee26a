"""`modelmill data`: what can be asked of data outside a run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.common.errors import UserError
from pipelines.printing import AsJson, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Ask something of data outside a run.")


@app.callback()
def _group() -> None:
    """Keeps the command's name in the command line while there is only one."""


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
