"""Writing a pipeline to a file, for one cluster or for any."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.pipelines.display.text import complain
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS
from modelmill.store import Store


def for_any(recipe: Recipe, store: Store, output: Path, if_changed: bool) -> None:
    """Compile without anything of a cluster, and say what a cluster could not use.

    Raises:
        UserError: the file cannot be written.
    """
    from modelmill.pipelines import dag

    with _writing(output):
        dag.compile_to(recipe, store.uri, str(output), if_changed=if_changed)
    if "://" not in recipe.data.path:
        complain(f"note: data.path {recipe.data.path} is on this machine; a cluster reads s3://")
    if named := [step for step in STEPS if getattr(recipe.resources, step).profile]:
        complain(f"note: resources.{named[0]}.profile is left out; give --cluster FILE, which has the profiles")


def for_cluster(recipe: Path, overrides: list[str] | None, cluster: Path, output: Path, if_changed: bool) -> None:
    """Compile for the cluster that a file describes.

    Raises:
        UserError: a file cannot be read, the recipe does not go with the cluster, or the output cannot be written.
    """
    from modelmill.pipelines.cluster import placement, profiles, settings

    loaded, described = recipes.load(recipe, overrides), settings.load(cluster)
    placement.check(loaded, described, profiles.load(described.profiles))
    with _writing(output):
        placement.compile_for(loaded, described, str(output), if_changed)


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
