"""Where a model is from and on what terms, as far as its files say."""

import logging
from pathlib import Path
from typing import Any

import yaml

from modelmill.runtime.sources import hub, layout

log = logging.getLogger("modelmill")
_LONGEST = 200


def licence(folder: Path) -> str | None:
    """Return the licence that a model's card names, else the name of the file with its terms, else None.

    Args:
        folder: The model's folder.
    """
    front = card_of(folder)
    named = front.get("license_name") if front.get("license") == "other" else front.get("license")
    if named:
        return ", ".join(map(str, named))[:_LONGEST] if isinstance(named, list) else str(named)[:_LONGEST]
    return next((file.name for file in sorted(folder.iterdir()) if layout.is_licence(file.name)), None)


def card_of(folder: Path) -> dict[str, Any]:
    """Return the metadata in front of a model's card; empty where there is none that can be read."""
    try:
        _, front, _ = (folder / layout.CARD).read_text("utf-8").split("---", 2)
        read = yaml.safe_load(front)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def of(source: str, folder: Path) -> dict[str, str]:
    """Return source, revision and licence of a model, as a manifest may hold them: no folder of this machine.

    Args:
        source: The source, as the recipe names it.
        folder: Its folder.
    """
    is_place = "://" in source or source.startswith("models:/")
    said = {
        "source": source.partition("@")[0] if source.startswith(hub.SCHEME) else source if is_place else None,
        "revision": hub.commit_of(folder) if source.startswith(hub.SCHEME) else None,
        "licence": licence(folder),
    }
    return {name: value for name, value in said.items() if value}
