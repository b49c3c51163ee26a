"""`modelmill registry show`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry show tabular-mlp@champion"


def command(
    model: Annotated[str, typer.Argument(help="MODEL, MODEL@ALIAS or MODEL/VERSION.")],
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show a model's versions, or one of them with what made it and what was decided about it."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.display import registry
    from modelmill.pipelines.models import summaries, versions
    from modelmill.store import open_store

    name, chosen = versions.split(model)
    opened = open_store(store)
    known = versions.registered(opened, name, store)
    now = champion_state.read(opened, name)
    if chosen is None:
        listed = [summaries.of_version(opened, one, now) for one in known]
        if as_json:
            print_json({**summaries.of_model(name, now, known), "versions": listed})
        else:
            registry.show_versions(listed)
        return
    version = versions.pick(opened, name, known, chosen)
    decided = [entry for _, entry in champion_state.history(opened, name) if entry.version == version.version]
    shown = {"model": name, **summaries.of_version(opened, version, now), "tags": version.tags}
    shown["decisions"] = [entry.model_dump() for entry in decided]
    print_json(shown) if as_json else registry.show_version(shown)
