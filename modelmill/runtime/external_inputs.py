"""Digests of what comes from outside the DAG: the data, the weights to start from, the champion, the registry."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from modelmill.champion import champion_state
from modelmill.champion.held_out import what_differs
from modelmill.core.errors import CorruptError, UserError
from modelmill.data import shards
from modelmill.data.media.refusing import refused
from modelmill.recipe import Recipe
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.recipe.sections import TEACHER as TEACHER_KEY
from modelmill.recipe.step_specs import CHAMPION, DATA, FITTED, INIT, REGISTRY, STEPS, TEACHER
from modelmill.runtime import compatibility, fitted, tracking, weights
from modelmill.runtime.sources import architecture
from modelmill.store import Store, manifest

NOTHING = "none"


def digests(step: str, recipe: Recipe, store: Store) -> dict[str, str]:
    """Return the digests of a step's `source.*` inputs, by name.

    Args:
        step: The step's name.
        recipe: The recipe.
        store: The run's store.

    Raises:
        UserError: There is no data, a model folder has no weights or none that fit the recipe, or no registry is
            configured.
    """
    return {name: _DIGESTS[name](recipe, store) for name in STEPS[step].sources}


def _data(recipe: Recipe, store: Store) -> str:
    return shards.fingerprint(shards.of(recipe.data))


def _fitted(recipe: Recipe, store: Store) -> str:
    """Return the digest of a tokenizer or checkpoint from elsewhere, or of the first fit of an earlier run."""
    source = recipe.preprocessing.given_checkpoint
    if source is None:
        return fitted.find(store, recipe) or NOTHING
    if isinstance(recipe.model, PretrainedModel):
        key = recipe.preprocessing.checkpoint_key
        folder = weights.locate_description(key, source, store)
        _require_head(f"{key}: {source}", recipe.model, folder)
        if recipe.data.media == "images":
            from modelmill.data.media import image_processor

            with refused(f"{key}: {source}"):
                image_processor.named(folder)
        if key == weights.TOKENIZER_KEY:
            recipe.preprocessing.require_tokenizer(weights.locate(key, source, store))
        else:
            recipe.preprocessing.require_processor(folder)
        if length := recipe.preprocessing.context_length:
            compatibility.require_length(folder, length, key)
        return weights.describing_digest(folder)
    folder = weights.locate("preprocessing.tokenizer.from", source, store)
    if recipe.preprocessing.needs_chat_template:
        compatibility.require_chat_template(folder)
    return weights.tokenizer_digest(folder)


def _init(recipe: Recipe, store: Store) -> str:
    if recipe.pretraining is None or recipe.pretraining.init == "random":
        return NOTHING
    init = recipe.pretraining.init
    folder = weights.locate("pretraining.init", init, store)
    if isinstance(recipe.model, PretrainedModel):
        _require_head(f"pretraining.init: {init}", recipe.model, folder)
    if length := recipe.preprocessing.context_length:
        compatibility.require_length(folder, length)
    if isinstance(recipe.fine_tuning, AdaptedFineTuning):
        compatibility.require_modules(folder, recipe.fine_tuning.named_modules)
    source = recipe.preprocessing.given_checkpoint
    if source and recipe.preprocessing.checkpoint_key == weights.TOKENIZER_KEY:
        tokenizer = weights.locate(weights.TOKENIZER_KEY, source, store)
        compatibility.require_vocabulary(folder, tokenizer / weights.TOKENIZER[0])
    if not init.startswith("models:/"):  # of those it was said when they were registered
        weights.warn_of_licence(f"pretraining.init: {init}", folder)
    return weights.digest(folder)


def _require_head(where: str, model: PretrainedModel, folder: Path) -> None:
    architecture.require_head(where, weights.read_json(where, folder / weights.CONFIG), model.heads)


def _teacher(recipe: Recipe, store: Store) -> str:
    source = recipe.fine_tuning.teacher if recipe.fine_tuning else None
    if source is None:
        return NOTHING
    folder = weights.locate(TEACHER_KEY, source, store)
    if length := recipe.preprocessing.context_length:
        compatibility.require_length(folder, length, TEACHER_KEY)
    if given := recipe.preprocessing.given_checkpoint:
        tokenizer = weights.locate(weights.TOKENIZER_KEY, given, store)
        compatibility.require_vocabulary(folder, tokenizer / weights.TOKENIZER[0], TEACHER_KEY)
    if not source.startswith("models:/"):
        weights.warn_of_licence(f"{TEACHER_KEY}: {source}", folder)
    return weights.digest(folder)


def _champion(recipe: Recipe, store: Store) -> str:
    if recipe.evaluation.comparison is None:
        return NOTHING
    model = recipe.registration.model
    champion = champion_state.read(store, model).champion
    if champion is None:
        return champion_state.NOBODY
    with contextlib.suppress(CorruptError):  # evaluation says so, if it has to read it
        mine, its = recipe.preprocessing.held_out, manifest.load(store, champion.evaluation).info.get("held_out", {})
        if differs := what_differs(mine, {key: its.get(key) for key in mine}):
            raise UserError(
                f"evaluation.comparison: the champion, {model} version {champion.version}, was measured on another "
                f"split: {differs}; put that back, or decide by thresholds alone: --set evaluation.comparison=none"
            )
    return champion.digest


def _registry(recipe: Recipe, store: Store) -> str:
    return tracking.identity(store)


_DIGESTS: dict[str, Callable[[Recipe, Store], str]] = {
    DATA: _data,
    FITTED: _fitted,
    INIT: _init,
    TEACHER: _teacher,
    CHAMPION: _champion,
    REGISTRY: _registry,
}
