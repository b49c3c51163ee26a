"""Lineage for people: a version as a tree, a shard as lines."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from modelmill.pipelines.display.text import printable
from modelmill.pipelines.models.lineage import date

_MOST_SHARDS = 20
_SHORT = 12
# So long that a line which is read by a program is not wrapped.
_WIDE = 10_000
GONE = "no longer in the store"


def show_version(made: dict[str, Any]) -> None:
    """Print what `lineage.of_version` tells, as a tree; digests are shortened, `--json` has them whole."""
    Console(width=None if sys.stdout.isatty() else _WIDE).print(_tree(made))


def _tree(made: dict[str, Any]) -> Tree:
    state = "verified" if made["verified"] else "not verified"
    name = " ".join([f"{made['model']} version {made['version']}", *(f"@{alias}" for alias in made["aliases"])])
    root = Tree(_text(f"{name}  {state}, registered {date(made['registered'])}", "bold"))
    if not made["key"]:
        root.add(_text("registered by something else than Modelmill: nothing is known of it"))
        return root
    settings = made["settings"] or {}
    seed = f", seed {settings['seed']}" if "seed" in settings else ""
    root.add(_text(f"recipe {made['recipe']}{seed}"))
    run = made["run"]
    started = f", started {date(run['started'])}: {run['command']}" if run["started"] else f": its record is {GONE}"
    root.add(_text(f"run {run['run_id']}{started}"))
    registration = root.add(_text(f"registration {_short(made['key'])}"))
    registration.add(_text(f"code {_short(made['code'])}"))
    _add_where(registration, made["where"])
    for output in made["made_from"]:
        _add(root, output)
    return root


def show_shard(use: dict[str, Any]) -> None:
    """Print a line a version that a shard went into, and what could not be told; from `lineage.of_shard`."""
    for one in use["versions"]:
        name = " ".join([f"{one['model']} version {one['version']}", *(f"@{alias}" for alias in one["aliases"])])
        other = "" if one["same"] in (True, None) else f": other bytes than the file has now ({_short(one['sha256'])})"
        print(f"{name}  {printable(one['path'])}  {_rows(one['rows'])}{other}")
    if not use["versions"]:
        print(f"{printable(use['shard'])}: no registered version was made from it")
    if unknown := use["unknown"]:
        names = ", ".join(f"{one['model']} version {one['version']}" for one in unknown)
        print(f"not known of {names}: the list of shards is not in this store")


def _add(parent: Tree, made: dict[str, Any]) -> None:
    """Add an output, how it was made, and below it what it was made from."""
    if "made_from" not in made:
        above = "" if made["output"].startswith("source.") else "  as above"
        parent.add(_text(f"{made['output']} {_short(made['digest'])}{above}"))
        return
    state = made.get("headline") or ("" if made["manifest"] else GONE)
    node = parent.add(_text(f"{made['output']} {_short(made['digest'])}  {state}".rstrip()))
    if "code" in made:
        libraries = [f"{name} {version}" for name, version in made["code"].items() if name not in ("source", "python")]
        versions = ", ".join([f"Python {made['code']['python']}", *libraries])
        node.add(_text(f"code {_short(made['code']['source'])}, {versions}"))
        _add_where(node, made["where"], made["device"])
    if "suite" in made:
        name = (made.get("settings") or {}).get("data.suite", {}).get("name", "")
        node.add(_text(f"suite {name} {_short(made['suite'])}"))
    if "shards" in made:
        _add_shards(node, made["shards"])
    for one in made["made_from"]:
        _add(node, one)


def _add_where(node: Tree, where: dict[str, str] | None, device: str | None = None) -> None:
    if where:
        trained = f" ({device})" if device else ""
        node.add(_text(f"made in run {where['run_id']} on {where['machine']}{trained}, image {where['image']}"))


def _add_shards(node: Tree, shards: list[dict[str, Any]]) -> None:
    for shard in shards[:_MOST_SHARDS]:
        node.add(_text(f"{shard['path']}  {_short(shard['sha256'])}  {_rows(shard['rows'])}"))
    if len(shards) > _MOST_SHARDS:
        node.add(_text(f"and {len(shards) - _MOST_SHARDS:,} shards more; --json lists them"))


def _rows(rows: int | None) -> str:
    return "" if rows is None else "1 row" if rows == 1 else f"{rows:,} rows"


def _short(sha256: str | None) -> str:
    return sha256[:_SHORT] if sha256 else "unknown"


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)
