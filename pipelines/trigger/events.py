"""What object stores say of changed objects, and which recipes' data that is."""

import glob
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

from modelmill.core.errors import UserError
from modelmill.recipe import Recipe

_FILER = "/buckets/"
# Recipes that one webhook call names as the reason; the call may hold a thousand objects.
_SHOWN = 3


def uris(document: Any) -> list[str]:
    """Return the changed objects as `s3://` URIs.

    Args:
        document: An S3 event notification (`Records`), or what a SeaweedFS filer's webhook sends.

    Raises:
        UserError: The document is neither.
    """
    if isinstance(document, dict) and isinstance(document.get("Records"), list):
        return [_of_record(record) for record in document["Records"]]
    if isinstance(document, dict) and document.get("Event") == "s3:TestEvent":
        return []
    if isinstance(document, dict) and isinstance(document.get("key"), str):
        return [f"s3://{path.removeprefix(_FILER)}" for path in _paths(document) if path.startswith(_FILER)]
    raise UserError("events: the body is neither an S3 event notification nor a SeaweedFS filer webhook")


def affected(recipes: Iterable[Recipe], changed: list[str]) -> dict[str, list[str]]:
    """Return, by recipe's name, the changed objects that are its data or could become it.

    Args:
        recipes: The recipes that may be asked for.
        changed: URIs of the objects.
    """
    objects = {recipe.name: [uri for uri in changed if _is_data(recipe.data.path, uri)] for recipe in recipes}
    return {name: of_it for name, of_it in objects.items() if of_it}


def reason(changed: list[str]) -> str:
    """Return the changed objects in words."""
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"changed: {', '.join(changed[:_SHOWN])}{more}"


def _paths(document: dict[str, Any]) -> list[str]:
    """Return the paths of a filer's event; of a rename its key is the old one, and the message has the new one."""
    match document:
        case {"key": old, "message": {"new_parent_path": str(folder), "new_entry": {"name": str(name)}}}:
            return list(dict.fromkeys([old, f"{folder}/{name}"]))
    return [document["key"]]


def _of_record(record: Any) -> str:
    try:
        bucket, key = record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]
        if isinstance(bucket, str) and isinstance(key, str):
            return f"s3://{bucket}/{unquote_plus(key)}"
    except (KeyError, TypeError, IndexError):
        pass
    raise UserError("events: a record has no s3.bucket.name and s3.object.key that are texts")


def _is_data(path: str, uri: str) -> bool:
    """Return whether an object is below the folder that the recipe reads.

    Of a pattern that is its part without wildcards.
    """
    parts = path.rstrip("/").split("/")
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    folder = "/".join(parts[:fixed])
    return uri == folder or uri.startswith(f"{folder}/")
