"""`modelmill registry list`."""

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry list"


def command(store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the models that this store has registered, where they stand, and imported base models."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.models import summaries
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    known = tracking.registered(opened)
    ours = [*champion_state.models(opened), *(one.name for one in known if one.imported_from)]
    models = [
        summaries.of_model(name, champion_state.read(opened, name), [one for one in known if one.name == name])
        for name in sorted(set(ours))
    ]
    if as_json:
        print_json({"models": models})
        return
    from modelmill.pipelines.display import registry

    registry.show_models(models)
