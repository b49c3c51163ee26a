"""The step memo: a step is a function of its inputs, so the outputs of a finished key are reused."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import code_of, settings_of
from modelmill.runtime import tracking
from modelmill.store import KeyNotFound, Store, manifest
from modelmill.store.manifest import Manifest

# step, code, settings and inputs; in a plan, an input that is still to be made has the digest None.
KeyDocument = dict[str, Any]


class Finished(BaseModel):
    """A finished step.

    Attributes:
        document: What its key was made from.
        outputs: Digests of the output manifests, by output.
        values: KFP output parameters.
        metrics: Numbers for people.
        headline: The step's line in the run's table.
        seconds: Wall-clock time that it took.
        where: Run and machine that made it, as `machine.here` describes them; empty in older entries.
    """

    document: KeyDocument
    outputs: dict[str, str]
    values: dict[str, Any]
    metrics: dict[str, Any]
    headline: str
    seconds: float
    where: dict[str, str] = {}


def key_document(
    step: str, recipe: Recipe, inputs: Mapping[str, str | None], code: dict[str, str] | None = None
) -> KeyDocument:
    """Return everything that decides what a step makes.

    Args:
        step: The step's name.
        recipe: The recipe.
        inputs: Digests of the inputs, by the names in the step's specification; None for one still to be made.
        code: What would run the step, as `code_of` describes it; what does here, by default.
    """
    code = code or code_of(step, recipe)
    return {"step": step, "code": code, "settings": settings_of(step, recipe), "inputs": dict(inputs)}


def key_of(document: KeyDocument) -> str:
    """Return the step's key: the digest of what decides its result."""
    return digest.of_json(document)


def find(store: Store, document: KeyDocument) -> Finished | None:
    """Return the finished step with this key if every file that it made is still there, else None."""
    try:
        finished = Finished.model_validate_json(store.get(_memo_key(document)))
        made = [manifest.load(store, sha256) for sha256 in finished.outputs.values()]
    except (KeyNotFound, CorruptError, ValueError):
        return None
    whole = all(manifest.is_whole(store, m) and _is_registered(store, m) for m in made)
    return finished if whole else None


def commit(store: Store, finished: Finished) -> None:
    """Record a finished step, whose outputs must be in the store already."""
    store.put(_memo_key(finished.document), finished.model_dump_json().encode())


def with_key(store: Store, step: str, key: str) -> Finished | None:
    """Return the finished step with this key, even if its outputs are gone.

    Args:
        store: Store with the memo.
        step: The step's name.
        key: The step's key.
    """
    try:
        return Finished.model_validate_json(store.get(_key(step, key)))
    except (KeyNotFound, ValueError):
        return None


def settle(store: Store, finished: Finished, inputs: dict[str, str], recipe_name: str) -> Finished:
    """Record that the step would have made the same with these inputs in place of those it had."""
    document = finished.document | {"inputs": finished.document["inputs"] | inputs}
    settled = finished.model_copy(update={"document": document})
    commit(store, settled)
    remember(store, document, recipe_name)
    return settled


def remember(store: Store, document: KeyDocument, recipe_name: str) -> None:
    """Note what the recipe's step was last made from, so that `why` can say what has changed since."""
    store.put(_last_key(document["step"], recipe_name), digest.canonical_json(document))


def last(store: Store, step: str, recipe_name: str) -> Finished | None:
    """Return the recipe's step as it was last finished or reused, even if its outputs are gone.

    Args:
        store: Store with the memo.
        step: The step's name.
        recipe_name: The recipe's name.
    """
    document = _last_document(store, step, recipe_name)
    return with_key(store, step, key_of(document)) if document else None


def recipes_with(store: Store, step: str) -> list[str]:
    """Return the names of the recipes whose step has been finished."""
    return sorted(key.rpartition("/")[2].removesuffix(".json") for key in store.list(_last_folder(step)))


def note_code(store: Store, step: str, recipe: Recipe, image: str) -> None:
    """Note what runs a step in an image, for those who cannot look into it.

    Args:
        store: Where it is noted.
        step: The step's name.
        recipe: The recipe.
        image: The image's name in full.
    """
    code = code_of(step, recipe)
    store.put(_code_key(step, recipe, image, code), digest.canonical_json(code))


def code_in(store: Store, step: str, recipe: Recipe, image: str) -> dict[str, str] | None:
    """Return what runs a step in an image, as `note_code` has noted it there; None if it has not."""
    try:
        code: dict[str, str] = json.loads(store.get(_code_key(step, recipe, image, code_of(step, recipe))))
    except (KeyNotFound, ValueError):
        return None
    return code


def why(store: Store, document: KeyDocument, recipe_name: str) -> str:
    """Return, in words, why the step with this key is not finished: first run, or what differs from the last one.

    Args:
        store: Store with the memo.
        document: What the key is made from.
        recipe_name: The recipe's name.
    """
    before = _last_document(store, document["step"], recipe_name)
    if before is None:
        return "first run"
    settings = differences(before["settings"], document["settings"])
    known = {name: sha256 for name, sha256 in document["inputs"].items() if sha256 is not None}
    inputs = differences({name: before["inputs"].get(name) for name in known}, known)
    waits_for = dict.fromkeys(name.split(".")[0] for name in document["inputs"] if name not in known)
    code = differences(before["code"], document["code"])
    if settings:
        return "settings changed: " + ", ".join(f"{k} ({_short(a)} -> {_short(b)})" for k, a, b in settings[:3])
    if inputs:
        return ", ".join(_input_changed(name) for name, _, _ in inputs)
    if code:
        return "code changed: " + ", ".join(k if k == "source" else f"{k} {a} -> {b}" for k, a, b in code)
    if waits_for:
        return "after " + ", ".join(waits_for)
    return "its outputs are no longer there"


def _last_document(store: Store, step: str, recipe_name: str) -> KeyDocument | None:
    try:
        document: KeyDocument = json.loads(store.get(_last_key(step, recipe_name)))
    except (KeyNotFound, ValueError):
        return None
    return document


def _memo_key(document: KeyDocument) -> str:
    return _key(document["step"], key_of(document))


def _key(step: str, key: str) -> str:
    return f"memo/{step}/{key}.json"


def _code_key(step: str, recipe: Recipe, image: str, code: dict[str, str]) -> str:
    return f"images/{digest.of_json([image, step, recipe.task, sorted(code)])}.json"


def _last_folder(step: str) -> str:
    return f"memo/{step}/last/"


def _last_key(step: str, recipe_name: str) -> str:
    return f"{_last_folder(step)}{recipe_name}.json"


def _is_registered(store: Store, made: Manifest) -> bool:
    return made.kind != "registration" or tracking.has_version(store, made.info["name"], made.info["version"])


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return the dotted keys whose values differ, with both values, depth first.

    Args:
        old: Values before.
        new: Values now.
        prefix: Text before each key.
    """
    changes: list[tuple[str, Any, Any]] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changes += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            changes.append((prefix + key, a, b))
    return changes


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _input_changed(name: str) -> str:
    step, output = name.split(".")
    return f"{output} changed" if step == "source" else f"{step} made another {output}"
