"""`modelmill data validate`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.data.arguments import (
    Columns,
    DataPath,
    Format,
    LayoutOption,
    Media,
    PairsColumns,
    PairsFrom,
    find_format,
    find_layout,
    find_shards,
    with_json,
)
from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import complain, print_json
from modelmill.pipelines.writing import writing

EXAMPLE = "modelmill data validate data/python-lm --suite recipes/suites/python-lm.json"
_MOST_FILES = 10


def command(
    path: DataPath,
    suite: Annotated[Path, typer.Option("--suite", help="A Great Expectations suite, JSON.")],
    format_: Format = "auto",
    media: Media = None,
    layout: LayoutOption = None,
    column: Columns = [],  # noqa: B006
    pairs_from: PairsFrom = None,
    pairs_column: PairsColumns = [],  # noqa: B006
    docs: Annotated[Path | None, typer.Option("--docs", help="Write the Data Docs into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold data against a suite, as the first step of a run does.

    Ends with 0 if the data keep it, else with 3.
    """
    from modelmill import recipe as recipes

    contract = recipes.read_suite(suite, where="--suite")
    from modelmill.components.data_validation.api import is_named, of_format
    from modelmill.components.data_validation.contract import judge, parse

    parse(contract)  # what it cannot be held against is said before a byte of the data is read
    found = find_layout(path, format_, media, layout)
    shards = find_shards(path, format_, found, column)
    held = of_format(find_format(shards, pairs_from, pairs_column))
    if held and pairs_from is None and not is_named(held, contract):
        held = None
    shards = with_json(shards, held, column)
    judged = judge(path, shards, contract, lambda done, total, text: None, conversations=held)
    if docs is not None:
        with writing(f"--docs {docs}"):
            docs.mkdir(parents=True, exist_ok=True)
            (docs / "data_docs.html").write_bytes(judged.data_docs())
    rows = judged.dataset.info["rows"]
    if as_json:
        verdict = {"success": judged.success, "shards": len(shards), "rows": rows, "result": judged.result}
        verdict["refused"] = judged.refused
        verdict |= {"malformed": judged.malformed} if held else {}
        print_json(verdict | ({"unusable": judged.unusable} if found.media else {}))
    else:
        from modelmill.pipelines.display import checks, quarantine

        checks.show((holds, f"{name}  {finding}") for holds, name, finding in judged.findings())
        quarantine.show_unusable(judged.unusable[:_MOST_FILES])
        quarantine.show_malformed(judged.malformed[:_MOST_FILES])
        named = "1 shard" if len(shards) == 1 else f"{len(shards)} shards"
        print(f"{rows:,} rows in {named}: the contract is {'kept' if judged.success else 'broken'}")
    if judged.refused:  # the verdict on the other expectations stands
        complain(judged.refused[0])
        raise typer.Exit(UserError.exit_code)
    raise typer.Exit(0 if judged.success else 3)
