"""`modelmill registry`, `promote` and `rollback`: what is registered, which version is the champion, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from modelmill.core.errors import Corrupt, ModelmillError, UserError, one_line
from modelmill.pipelines.display.text import DEFAULT_STORE, AsJson, StoreUri, print_json

if TYPE_CHECKING:
    from modelmill.champion.champion_state import Candidate
    from modelmill.runtime.tracking.versions import Version
    from modelmill.store import Store

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at what is registered, and why.")

Model = Annotated[str, typer.Argument(help="The registered model's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log of decisions.")]


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="registry")
    main.command(epilog="Example: modelmill promote tabular-mlp 2 --reason 'better on the new branches'")(promote)
    main.command(epilog="Example: modelmill rollback tabular-mlp --reason 'answers in the wrong language'")(rollback)


@app.command("list", epilog="Example: modelmill registry list")
def list_(store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the models that were registered from this store, and where they stand."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.display import registry as tables
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    rows = [
        tables.model_row(name, champion_state.read(opened, name), tracking.registered(opened, name))
        for name in champion_state.models(opened)
    ]
    print_json({"models": rows}) if as_json else Console().print(tables.models(rows))


@app.command(epilog="Example: modelmill registry show tabular-mlp@champion")
def show(
    model: Annotated[str, typer.Argument(help="MODEL, MODEL@ALIAS or MODEL/VERSION.")],
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show a model's versions, or one of them with what made it and what was decided about it."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.display import registry as tables
    from modelmill.pipelines.models import versions as models

    name, chosen = models.split(model)
    opened, found = _open(store, name)
    now = champion_state.read(opened, name)
    if chosen is None:
        rows = [tables.version_row(opened, one, now) for one in found]
        print_json({**tables.model_row(name, now, found), "versions": rows}) if as_json else Console().print(
            tables.versions(rows)
        )
        return
    version = models.pick(opened, name, found, chosen)
    decided = [entry for _, entry in champion_state.history(opened, name) if entry.version == version.version]
    said = {"model": name, **tables.version_row(opened, version, now), "tags": version.tags}
    said["decisions"] = [entry.model_dump() for entry in decided]
    print_json(said) if as_json else tables.show_version(Console(), said)


@app.command(epilog="Example: modelmill registry diff tabular-mlp 1 2")
def diff(
    model: Model,
    a: Annotated[str, typer.Argument(help="A version, or an alias such as @previous.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: settings of the recipe, shards of the data, metrics, code."""
    from modelmill.pipelines.display import registry as tables
    from modelmill.pipelines.models import differences
    from modelmill.pipelines.models import versions as models

    opened, found = _open(store, model)
    one, other = (models.pick(opened, model, found, chosen) for chosen in (a, b))
    between = differences.between(opened, one, other)
    if as_json:
        print_json({"model": model, "a": one.version, "b": other.version, **between})
    else:
        tables.show_differences(Console(), one.version, other.version, between)


@app.command(epilog="Example: modelmill registry log tabular-mlp")
def log(model: Model, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show every decision about a model, newest first, and check that none was changed or left out."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.display import registry as tables
    from modelmill.runtime.tracking.versions import WITNESS

    # The witnesses first: the log only grows.
    opened, found = _open(store, model)
    entries: list[tuple[str, Any]] = []
    try:
        entries.extend(champion_state.history(opened, model))
        known = {digest for digest, _ in entries}
        for version in found:
            witness = version.tags.get(WITNESS)
            if witness is not None and witness not in known:
                raise Corrupt(
                    f"{model}: MLflow's version {version.version} names entry {witness} of the log of "
                    "decisions, which the log does not have: entries were cut off, or the standing was put back"
                )
    finally:
        if not as_json:
            Console().print(tables.decisions([entry for _, entry in entries]))
    if as_json:
        print_json({"model": model, "log": [{"digest": key, **entry.model_dump()} for key, entry in entries]})


@app.command(epilog="Example: modelmill registry repair")
def repair(
    model: Annotated[str | None, typer.Argument(help="The model; every model if not given.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Point MLflow's aliases to where the store says that they belong."""
    from modelmill.champion import champion_state
    from modelmill.store import open_store

    opened = open_store(store)
    names = champion_state.models(opened)
    if model is not None and model not in names:
        _open(store, model)
        raise UserError(f"{model}: nothing was decided about it in {store} yet; modelmill promote {model} VERSION")
    changed = {name: _follow(opened, name) for name in ([model] if model else names)}
    if as_json:
        print_json({"changed": changed})
        return
    for name, lines in changed.items():
        print(f"{name}: " + ("; ".join(lines) or "as it should be"))


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version.")],
    reason: Reason = "a person's choice",
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Make a verified version of a model the champion, whatever its evaluation says."""
    from modelmill.champion import promotion
    from modelmill.store import check_conditional_writes

    opened, found = _open(store, model)
    candidate = _verified(model, found, version)
    check_conditional_writes(opened)
    settled = promotion.appoint(opened, model, candidate, reason)
    _follow(opened, model)
    _say(model, settled, as_json)


def rollback(
    model: Model,
    to: Annotated[str | None, typer.Option("--to", help="The version; the previous champion if not given.")] = None,
    reason: Reason = "a person's choice",
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Put the previous champion back; the version rolled back from is not promoted again but by a person."""
    from modelmill.champion import champion_state, promotion
    from modelmill.store import check_conditional_writes

    opened, found = _open(store, model)
    now = champion_state.read(opened, model)
    if now.champion is None:
        raise UserError(f"{model}: no champion to roll back from; modelmill promote {model} VERSION makes one")
    others = [one.version for one in found if one.is_verified and one.version != now.champion.version]
    choices = f"verified are {', '.join(others)}" if others else "no other version is verified"
    target = _verified(model, found, to) if to is not None else now.previous
    if target is None:
        raise UserError(f"{model}: no previous champion to go back to; name a version with --to ({choices})")
    if target.version == now.champion.version:
        raise UserError(f"{model}: version {target.version} is the champion already; {choices}")
    _verified(model, found, target.version)
    check_conditional_writes(opened)
    settled = promotion.roll_back(opened, model, now, target, reason)
    _follow(opened, model)
    _say(model, settled, as_json)


def _say(model: str, settled: Any, as_json: bool) -> None:
    now, decided = settled
    if as_json:
        print_json({"model": model, **now.model_dump(), "decision": decided.model_dump() if decided else None})
    elif decided is None:
        print(f"{model}: version {now.champion.version} is the champion already")
    else:
        place = f" in place of version {decided.against}" if decided.against else ""
        print(f"{model}: version {now.champion.version} is the champion{place}")


def _open(store: str, model: str) -> "tuple[Store, list[Version]]":
    """The store, and the model's versions in MLflow.

    Raises:
        UserError: there are none.
    """
    from pydantic import TypeAdapter, ValidationError

    from modelmill.champion import champion_state
    from modelmill.recipe.sections import Name
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    try:
        TypeAdapter(Name).validate_python(model)
        found = tracking.registered(opened, model)
    except ValidationError:
        found = []
    if not found:
        known = ", ".join(champion_state.models(opened)) or "none"
        raise UserError(
            f"{one_line(Exception(model))}: no model of this name is registered from {store}; known: {known}"
        )
    return opened, found


def _verified(model: str, found: "list[Version]", number: str) -> "Candidate":
    """
    Raises:
        UserError: the version may not become the champion.
    """
    from modelmill.pipelines.models import versions as models

    version = next((one for one in found if one.version == number), None)
    if version is None:
        raise UserError(models.no_version(model, number, found))
    verified = ", ".join(one.version for one in found if one.is_verified and one.candidate) or "none"
    if version.candidate is None:
        raise UserError(f"{model}: version {number} was not registered by Modelmill; verified are {verified}")
    if not version.is_verified:
        raise UserError(f"{model}: version {number} was never verified; verified are {verified}")
    return version.candidate


def _follow(store: "Store", model: str) -> list[str]:
    from modelmill.runtime import tracking

    try:
        with tracking.client(store) as client:
            return tracking.follow(client, store, model)
    except ModelmillError as error:
        # Not the same command again: what was decided is decided.
        raise ModelmillError(
            f"{model}: MLflow's aliases are not where the store says ({one_line(error).removesuffix(tracking.AGAIN)}); "
            f"put that right, then modelmill registry repair {model}"
        ) from error
