"""`modelmill registry log`."""

from typing import Any

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, Model, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry log tabular-mlp"


def command(model: Model, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show every decision about a model, newest first, and check that none was changed or left out."""
    from modelmill.pipelines.display import registry
    from modelmill.pipelines.models import decisions, versions
    from modelmill.store import open_store

    opened = open_store(store)
    known = versions.registered(opened, model, store)
    entries: list[tuple[str, Any]] = []
    try:
        for entry in decisions.checked(opened, model, known):
            entries.append(entry)
    finally:  # what can be read is shown, also before a damaged entry
        if not as_json:
            registry.show_decisions([entry for _, entry in entries])
    if as_json:
        print_json({"model": model, "log": [{"digest": key, **entry.model_dump()} for key, entry in entries]})
