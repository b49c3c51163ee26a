"""Which steps a run would run, and why, from the same keys that the steps themselves use."""

from typing import NamedTuple

from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import external_inputs, memo
from modelmill.store import Store, manifest

VALIDATION = "data_validation"


class Planned(NamedTuple):
    """A step of a plan.

    Attributes:
        name: The step's name.
        status: `will run` or `reused`.
        reason: Why, in words.
        key: The step's key; None where an input is still to be made.
    """

    name: str
    status: str
    reason: str
    key: str | None


def plan(recipe: Recipe, store: Store) -> list[Planned]:
    """Return the steps in order with what would become of them; run and write nothing.

    Args:
        recipe: The resolved recipe.
        store: Where finished steps are remembered.

    Raises:
        UserError: The data, the weights to start from or the registry are not there.
    """
    made: dict[str, str | None] = {}
    planned = []
    for name, spec in STEPS.items():
        inputs: dict[str, str | None] = {source: made.get(source) for source in spec.inputs.values()}
        document = memo.key_document(name, recipe, inputs | external_inputs.digests(name, recipe, store))
        is_known = None not in document["inputs"].values()
        finished = memo.find(store, document) if is_known else None
        key = memo.key_of(document) if is_known else None
        if finished:
            made |= {f"{name}.{output}": sha256 for output, sha256 in finished.outputs.items()}
            planned.append(Planned(name, "reused", finished.headline, key))
        else:
            reason = memo.why(store, document, recipe.name) + _refit(name, recipe)
            planned.append(Planned(name, "will run", reason, key))
    return planned


def columns(recipe: Recipe, store: Store) -> dict[str, str]:
    """Return the types of the data's columns, by name: those that validation has made out, else those of the recipe.

    Args:
        recipe: The resolved recipe.
        store: Where finished steps are remembered.
    """
    document = memo.key_document(VALIDATION, recipe, external_inputs.digests(VALIDATION, recipe, store))
    if finished := memo.find(store, document):
        return dict(manifest.load(store, finished.outputs["dataset"]).info["columns"])
    return dict(recipe.data.columns)


def _refit(step: str, recipe: Recipe) -> str:
    """Return what preprocessing that runs costs: all shards where it fits anew, else only those that are new."""
    if step != "preprocessing" or recipe.preprocessing.given_checkpoint:
        return ""
    if recipe.preprocessing.fit == "always":
        return "; fits anew and encodes every shard (preprocessing.fit: always)"
    return "; encodes new shards only (preprocessing.fit: once)"
