"""`modelmill registry list`."""

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry list"


def command(store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the models that were registered from this store, and where they stand."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.models import summaries
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    models = [
        summaries.of_model(name, champion_state.read(opened, name), tracking.registered(opened, name))
        for name in champion_state.models(opened)
    ]
    if as_json:
        print_json({"models": models})
        return
    from modelmill.pipelines.display import registry

    registry.show_models(models)
