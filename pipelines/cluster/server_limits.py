"""Limits and defects of KFP servers that a request keeps clear of."""

from typing import Any

from modelmill.pipelines.cluster import client as clients

# What KFP's database takes. A longer one is refused after the run was started, so that no list has the run.
DESCRIPTION_CHARACTERS = 255
# First version of KFP that has plugins.
_PLUGINS = (2, 17)


def cut(description: str, room: int = 0) -> str:
    """Return a description that KFP can store.

    Args:
        description: The whole text.
        room: Characters that are to be left for more.
    """
    most = DESCRIPTION_CHARACTERS - room
    return description if len(description) <= most else f"{description[: most - 3]}..."


def plugins_off(client: Any) -> dict[str, Any] | None:
    """Return what keeps KFP's MLflow plugin off a run; None for a server that has no plugins, or may have none.

    In the configuration that KFP 2.17 ships the plugin is on, wants a certificate that is not there, and marks every
    run with its failure. The steps tell MLflow what it should know.

    Args:
        client: KFP's client.
    """
    return {"mlflow": {"disabled": True}} if clients.is_at_least(client, *_PLUGINS) else None
