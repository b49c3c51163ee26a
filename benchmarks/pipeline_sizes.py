"""Sizes of the pipelines of all recipes, for docs/cluster.md: `python -m benchmarks.pipeline_sizes`.

The nodes of a Workflow are an estimate: as many as Argo made, in recorded Workflows, for each task and DAG of KFP, each
of the mean size that the nodes of tabular-mlp had.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modelmill import recipe as recipes
from modelmill.pipelines import dag
from modelmill.pipelines.cluster import placement, settings
from modelmill.recipe import Recipe, stored

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "k8s" / "overlays" / "kind" / "cluster.yaml"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
# Argo stores more than this compressed, and KFP then no longer reads it.
MOST_NODE_BYTES = 1 << 20
# A driver, and a container or DAG, each behind a Retry; a container's pod and its Retry are in a DAG.
NODES_OF_TASK, NODES_OF_DAG = 6, 4
# The Workflow and its exit handler.
NODES_OF_RUN = 4
# 450 KB for the 58 nodes of a whole run of tabular-mlp, without the recipe.
NODE_BYTES = 450_000 // 58


class Sizes(NamedTuple):
    """Sizes of a recipe's pipelines.

    Attributes:
        file: Bytes of the file that `compile` writes without a cluster.
        uploaded: Bytes of the specification that `submit` uploads, as JSON.
        scheduled: The same for a schedule, which looks for new data first.
        nodes: Nodes of the Workflow that `submit` starts.
        groups: Groups of shards with which these stay below MOST_NODE_BYTES.
    """

    file: int
    uploaded: int
    scheduled: int
    nodes: int
    groups: int


def main() -> None:
    """Print the table."""
    print("| Recipe | Groups | File | Submitted | Scheduled | Nodes | Nodes, KB |\n|---|---|---|---|---|---|---|")
    for path in RECIPES:
        recipe = for_cluster(path)
        its = sizes(recipe)
        cells = (path.stem, recipe.data.groups, its.file, its.uploaded, its.scheduled, its.nodes)
        print(f"| {' | '.join(f'{c:,}' if isinstance(c, int) else c for c in cells)} | {_kilobytes(its.nodes)} |")
    print(f"\n{sizes(for_cluster(RECIPES[0])).groups} groups of shards stay below 1 MiB")


def for_cluster(path: Path) -> Recipe:
    """Return a recipe that ships with its data in a bucket and its base model in the registry.

    Args:
        path: The recipe's file.
    """
    recipe = recipes.load(path, ["data.path=s3://raw/data"])
    if recipe.pretraining is None or recipe.pretraining.init == "random":
        return recipe
    source = "processor" if getattr(recipe.preprocessing, "processor", None) is not None else "tokenizer"
    given = (f"preprocessing.{source}.from=models:/base/1", "pretraining.init=models:/base/1")
    return recipes.load(path, ["data.path=s3://raw/data", *given])


def sizes(recipe: Recipe) -> Sizes:
    """Return the sizes of a recipe's pipelines, on the cluster of the kind overlay."""
    plain = compiled(recipe, on_cluster=False)
    submitted, scheduled = compiled(recipe), compiled(recipe, if_changed=True)
    grouped = recipe.model_copy(update={"data": recipe.data.model_copy(update={"groups": 2})})
    spec = _documents(compiled(grouped))[0]
    fitting = max(n for n in range(1, 100) if nodes(spec, n) * NODE_BYTES < MOST_NODE_BYTES)
    return Sizes(len(plain), _as_json(submitted), _as_json(scheduled), nodes(_documents(submitted)[0]), fitting)


def compiled(recipe: Recipe, on_cluster: bool = True, if_changed: bool = False) -> bytes:
    """Return the file of a recipe's pipeline.

    Args:
        recipe: The resolved recipe.
        on_cluster: As it is uploaded to the cluster of the kind overlay; else as `compile` writes it.
        if_changed: Look for new data first, as in `dag.build`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        if on_cluster:
            placement.compile_for(recipe, settings.load(CLUSTER), str(path), if_changed)
        else:
            key = stored.key_of(recipe)
            dag.compile_to(recipe, "s3://modelmill/store", str(path), if_changed=if_changed, default=key)
        return path.read_bytes()


def nodes(spec: dict[str, Any], groups: int | None = None) -> int:
    """Return how many nodes Argo makes of a pipeline that runs to its end.

    Args:
        spec: The pipeline's specification.
        groups: Groups of shards; as many as the specification has, if not given.
    """

    def of_dag(component: dict[str, Any]) -> int:
        return NODES_OF_DAG + sum(map(of_task, component["dag"]["tasks"].values()))

    def of_task(task: dict[str, Any]) -> int:
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" not in component:
            return NODES_OF_TASK
        if "parameterIterator" not in task:
            return of_dag(component)
        turns = groups or len(json.loads(task["parameterIterator"]["items"]["raw"]))
        return NODES_OF_DAG + turns * of_dag(component)

    return NODES_OF_RUN + of_dag(spec["root"])


def _documents(file: bytes) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file))


def _as_json(file: bytes) -> int:
    return sum(len(json.dumps(document, separators=(",", ":"))) for document in _documents(file))


def _kilobytes(count: int) -> str:
    return f"{count * NODE_BYTES / 1000:,.0f}"


if __name__ == "__main__":
    main()
