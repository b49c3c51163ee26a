"""Data validation: every row of every shard against the suite, before anything is spent on the data."""

from typing import Any

from components.common import manifest, shards
from components.common.digest import canonical_json, of_json
from components.common.errors import GateFailed, UserError
from components.common.manifest import Manifest
from components.common.step import Made, Step, run_step


def run(*, recipe: str, store: str, run_id: str, dataset: str, validation: str) -> dict[str, Any]:
    """Run the step; `dataset` and `validation` are files to write the manifests to."""
    outputs = {"dataset": dataset, "validation": validation}
    return run_step("data_validation", _make, recipe=recipe, store=store, run_id=run_id, inputs={}, outputs=outputs)


def _make(step: Step) -> Made:
    """Keep the verdict and its page, whatever the verdict is; then let the data pass or not."""
    from components.data_validation import contract
    from components.data_validation.shard_states import ShardStates

    path = step.recipe.data.path
    found = shards.find(path, step.recipe.data.format)
    if shards.fingerprint(found) != step.digests["source.data"]:
        raise UserError(f"data.path: {path}: changed while the step was starting; run again")
    suite: dict[str, Any] = step.recipe.data.suite  # type: ignore[assignment]
    states = ShardStates(step.store, step.document["code"], step.scratch)
    judged = contract.judge(path, found, suite, step.progress, states)
    files = {"result.json": canonical_json(judged.result), "data_docs.html": judged.data_docs()}
    for name, data in files.items():
        step.store.put(f"runs/{step.run_id}/validation/{name}", data)
    if not judged.success:
        docs = f"runs/{step.run_id}/validation/data_docs.html"
        raise GateFailed(f"{judged.explain()}; correct the data or the suite; all in {docs}")
    dataset, rows = judged.dataset, judged.dataset.info["rows"]
    total, passed = len(judged.result["results"]), sum(r["success"] for r in judged.result["results"])
    validation = Manifest(
        kind="validation",
        entries=[manifest.add_bytes(step.store, data, name) for name, data in files.items()],
        made_from={"dataset": dataset.digest, "suite": of_json(suite)},
        info={"success": True, "rows": rows, "expectations": total, "passed": passed},
    )
    return Made(
        outputs={"dataset": dataset, "validation": validation},
        headline=f"{rows} rows, {passed}/{total} expectations",
        metrics={
            "rows": rows,
            "shards": len(dataset.entries),
            "new_shards": judged.scanned,
            "bytes": sum(e.bytes for e in dataset.entries),
            "expectations": total,
            "passed": passed,
        },
    )
