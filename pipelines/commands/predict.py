"""`modelmill predict`."""

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, ModelOrVersion, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill predict tabular-mlp rows.jsonl --output answers.jsonl"


def command(
    model: ModelOrVersion,
    rows: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="JSON Lines, or CSV by its name; - reads JSON Lines from standard input."),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Hold a conversation: each line of input is a message.")] = False,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system's message.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="The most tokens of an answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 takes the likeliest token; more draws others, too.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", help="Draw from the likeliest tokens that have this probability together."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The seed of draws.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="A text that ends an answer; may be repeated.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file for the answers.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Ask a registered version: rows in, an answer a row out as JSON Lines; or hold a conversation.

    Without an alias or a version that is the champion, else the newest version that is verified. Its files are compared
    with what was registered before they are loaded, and every row is looked at before the first is answered.
    """
    given = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed, "stop": stop or None}
    params = {name: value for name, value in given.items() if value is not None}
    if chat == (rows is not None):
        raise UserError(
            "--chat reads messages from standard input: leave INPUT out" if chat else "name an INPUT, or --chat"
        )
    if system is not None and not chat:
        raise UserError("--system goes with --chat; in rows the system's message is the first of messages")
    if chat:
        _chat(model, system, params, output, store, as_json)
    elif rows is not None:
        _rows(model, rows, params, output, store, as_json)


def _chat(
    model: str, system: str | None, params: dict[str, Any], output: Path | None, store: str, as_json: bool
) -> None:
    from modelmill.pipelines.display import chat as display
    from modelmill.pipelines.models import chat, predict, versions
    from modelmill.store import open_store

    opened = open_store(store)
    version = versions.find(opened, model)
    with predict.opened(opened, version) as found:
        chat.require_chat(version, found.columns)
        held = chat.Chat(found.load(), system, predict.parameters(version, found.parameters, params))
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(predict.writable(output)) if output else None
            messages = display.hold(held, f"{version}; Ctrl-D ends, Ctrl-C stops an answer", is_quiet=as_json)
            if target:
                target.write(json.dumps({"messages": messages}) + "\n")
    if as_json:
        print_json({"model": version.name, "version": version.version, "messages": messages})


def _rows(model: str, rows: str, params: dict[str, Any], output: Path | None, store: str, as_json: bool) -> None:
    from modelmill.pipelines.display import progress
    from modelmill.pipelines.models import predict, versions
    from modelmill.pipelines.models import rows as questions
    from modelmill.store import open_store

    opened = open_store(store)
    with questions.readable(rows) as given:
        version = versions.find(opened, model)
        with predict.opened(opened, version) as found:
            taken = predict.parameters(version, found.parameters, params)
            total = questions.count(questions.read(given, rows, found.columns), rows)
            asked = questions.read(given, rows, found.columns)
            kept: list[dict[str, Any]] = []
            with (
                predict.writable(output) as target,
                progress.bar("predicting", total, is_shown=output is not None) as advance,
            ):
                for batch in predict.answers(found.load(), found.columns, asked, taken):
                    if as_json and output is None:
                        kept += batch
                    else:
                        target.writelines(json.dumps(answer) + "\n" for answer in batch)
                    advance(len(batch))
    if as_json:
        shown = {"output": str(output)} if output is not None else {"predictions": kept}
        print_json({"model": version.name, "version": version.version, "rows": total, **shown})
    elif output is not None:
        print(f"{output}  {total:,} {'row' if total == 1 else 'rows'} by {version}")
