"""Steps that earlier runs of a cluster have finished, known before a run is submitted, so that they need no pods.

A step's key holds the code that runs it, which on a cluster is an image's. An image's steps note theirs in the store
(`memo.note_code`); that is believed of an image whose content cannot change: one with a digest, or with a tag that the
cluster file calls immutable while the step's source is the one that is installed here.
"""

import contextlib

from modelmill.core.errors import ModelmillError
from modelmill.pipelines import dag
from modelmill.pipelines.cluster import placement, reach
from modelmill.pipelines.cluster import profiles as profile_files
from modelmill.pipelines.cluster.profiles import Profiles
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.recipe import Recipe, sections
from modelmill.recipe.step_specs import FITTED, INIT, REGISTRY, STEPS, TEACHER, code_of
from modelmill.runtime import external_inputs, memo, tracking
from modelmill.store import Store


def find(recipe: Recipe, cluster: Cluster, store: Store) -> dag.Finished | None:
    """Return the first steps of the DAG as far as they are finished; None if none is, or it cannot be told from here.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        store: The cluster's store.
    """
    profiles = profile_files.load(cluster.profiles)
    made: dict[str, str] = {}
    keys: dict[str, str] = {}
    passed = None
    for step in STEPS:
        done = None
        # What cannot be read from here is left to the run, whose steps can.
        with contextlib.suppress(ModelmillError):
            done = _finished(step, made, recipe, cluster, profiles, store)
        if done is None:
            break
        keys[step] = memo.key_of(done.document)
        made |= {f"{step}.{output}": sha256 for output, sha256 in done.outputs.items()}
        if step == "evaluation" and not (passed := bool(done.values["passed"])):
            break
    return dag.Finished(keys, passed) if keys else None


def _finished(
    step: str, made: dict[str, str], recipe: Recipe, cluster: Cluster, profiles: Profiles, store: Store
) -> memo.Finished | None:
    code = _code(step, recipe, cluster, profiles, store)
    if code is None or _would_fetch(step, recipe):
        return None
    if REGISTRY in STEPS[step].sources and reach.registry_refuses(cluster):
        return None
    inputs = {source: made[source] for source in STEPS[step].inputs.values()}
    inputs |= external_inputs.digests(step, recipe, store)
    if REGISTRY in inputs:
        # Steps may see the server under another name than we do.
        inputs[REGISTRY] = tracking.identity_of(cluster.mlflow)
    return memo.find(store, memo.key_document(step, recipe, inputs, code))


def _would_fetch(step: str, recipe: Recipe) -> bool:
    """Return whether the digest of a step's input takes a download: of weights or a tokenizer from elsewhere."""
    named = {INIT: sections.INIT, FITTED: recipe.preprocessing.checkpoint_key, TEACHER: sections.TEACHER}
    return any(named.get(source) in recipe.models for source in STEPS[step].sources)


def _code(step: str, recipe: Recipe, cluster: Cluster, profiles: Profiles, store: Store) -> dict[str, str] | None:
    task = dag.task_of(step, recipe)
    image = placement.image_of(task, placement.profile_of(task, recipe, profiles), cluster)
    code = memo.code_in(store, step, recipe, image)
    is_fixed = "@" in image or (cluster.images.immutable and code and code["source"] == code_of(step, recipe)["source"])
    return code if is_fixed else None
