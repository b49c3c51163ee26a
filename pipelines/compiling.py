"""Writing a pipeline to a file, for one cluster or for any."""

from pathlib import Path

from modelmill import recipe as recipes
from modelmill.pipelines.writing import writing
from modelmill.recipe import Recipe, stored
from modelmill.recipe.step_specs import STEPS
from modelmill.store import Store


def for_any(recipe: Recipe, store: Store, output: Path, if_changed: bool) -> list[str]:
    """Write the recipe to the store, and its pipeline without anything of a cluster to a file.

    Args:
        recipe: The resolved recipe.
        store: Default of the pipeline's store.
        output: The file to write.
        if_changed: Look for new data first, as in `dag.build`.

    Returns:
        Notes on what a cluster could not use.

    Raises:
        UserError: The file or the store cannot be written.
    """
    from modelmill.pipelines import dag

    key = stored.write(store, recipe)
    with writing(f"--output {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        dag.compile_to(recipe, store.uri, str(output), if_changed=if_changed, default=key)
    notes = []
    if "://" not in recipe.data.path:
        notes.append(f"data.path {recipe.data.path} is on this machine; a cluster reads s3://")
    if named := [step for step in STEPS if getattr(recipe.resources, step).profile]:
        notes.append(f"resources.{named[0]}.profile is left out; give --cluster FILE, which has the profiles")
    return notes


def for_cluster(recipe: Path, overrides: list[str] | None, cluster: Path, output: Path, if_changed: bool) -> None:
    """Write the recipe to the store of the cluster that a file describes, and its pipeline there to a file.

    Args:
        recipe: The recipe's file.
        overrides: Keys of the recipe, each as --set takes it.
        cluster: The cluster's file.
        output: The file to write.
        if_changed: Look for new data first, as in `dag.build`.

    Raises:
        UserError: A file cannot be read, the recipe does not go with the cluster, the cluster's store cannot be reached
            from here, or the output cannot be written.
    """
    from modelmill.pipelines.cluster import placement, profiles, reach, settings

    loaded, described = recipes.load(recipe, overrides), settings.load(cluster)
    placement.check(loaded, described, profiles.load(described.profiles))
    key = stored.write(reach.require(described), loaded)
    with writing(f"--output {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        placement.compile_for(loaded, described, str(output), if_changed, default=key)
