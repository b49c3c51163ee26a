"""Data validation: every row of every shard against the suite, before anything is spent on the data."""

from typing import TYPE_CHECKING, Any

from components.common import manifest, shards
from components.common.digest import canonical_json, of_json
from components.common.errors import GateFailed, UserError
from components.common.manifest import Entry, Manifest
from components.common.shards import Shard
from components.common.step import Made, Step, run_step

if TYPE_CHECKING:
    import pyarrow as pa


def run(*, recipe: str, store: str, run_id: str, dataset: str, validation: str) -> dict[str, Any]:
    """Run the step; `dataset` and `validation` are files to write the manifests to."""
    outputs = {"dataset": dataset, "validation": validation}
    return run_step("data_validation", _make, recipe=recipe, store=store, run_id=run_id, inputs={}, outputs=outputs)


def _make(step: Step) -> Made:
    found = shards.find(step.recipe.data.path, step.recipe.data.format)
    if shards.fingerprint(found) != step.digests["source.data"]:
        raise UserError(f"data.path: {step.recipe.data.path}: changed while the step was starting; run again")
    entries, tables = _read(step, found)
    table = _concatenate(found, tables)
    if not table.num_rows:
        raise UserError(f"data.path: {step.recipe.data.path}: {len(found)} shards and not one row; check data.path")
    dataset = Manifest(kind="dataset", location="source", entries=entries, info=_info(found, table))
    return _judge(step, dataset, table)


def _read(step: Step, found: list[Shard]) -> tuple[list[Entry], list["pa.Table"]]:
    entries, tables = [], []
    for number, shard in enumerate(found):
        step.progress(number, len(found) + 1, f"reading {shard.path}")
        table, sha256 = shards.read(shard)
        entries.append(Entry(path=shard.path, sha256=sha256, bytes=shard.bytes, rows=table.num_rows))
        tables.append(table)
    return entries, tables


def _concatenate(found: list[Shard], tables: list["pa.Table"]) -> "pa.Table":
    import pyarrow as pa

    shards.unify([(shard, table.schema) for shard, table in zip(found, tables, strict=True)])
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:  # an integer that has no exact floating-point value
        raise UserError(f"data.path: the shards' columns cannot be joined: {error}; make the types equal") from None


def _info(found: list[Shard], table: "pa.Table") -> dict[str, Any]:
    columns = {field.name: str(field.type) for field in table.schema}
    return {"format": found[0].format, "rows": table.num_rows, "columns": columns}


def _judge(step: Step, dataset: Manifest, table: "pa.Table") -> Made:
    """Keep the verdict and its page, whatever the verdict is; then let the data pass or not."""
    from components.data_validation import data_docs, judge, verdict

    suite: dict[str, Any] = step.recipe.data.suite  # type: ignore[assignment]
    checked = judge.check_suite(suite, table.column_names)
    step.progress(len(dataset.entries), len(dataset.entries) + 1, f"validating {table.num_rows} rows")
    result = judge.validate(checked, table)
    files = {"result.json": canonical_json(result), "data_docs.html": data_docs.render(result).encode()}
    for name, data in files.items():
        step.store.put(f"runs/{step.run_id}/validation/{name}", data)
    total, passed = len(result["results"]), sum(r["success"] for r in result["results"])
    if not result["success"]:
        docs = f"runs/{step.run_id}/validation/data_docs.html"
        raise GateFailed(f"{verdict.explain(result, dataset.entries)}; correct the data or the suite; all in {docs}")
    validation = Manifest(
        kind="validation",
        entries=[manifest.add_bytes(step.store, data, name) for name, data in files.items()],
        made_from={"dataset": dataset.digest, "suite": of_json(suite)},
        info={"success": True, "rows": table.num_rows, "expectations": total, "passed": passed},
    )
    return Made(
        outputs={"dataset": dataset, "validation": validation},
        headline=f"{table.num_rows} rows, {passed}/{total} expectations",
        metrics={
            "rows": table.num_rows,
            "shards": len(dataset.entries),
            "bytes": sum(e.bytes for e in dataset.entries),
            "expectations": total,
            "passed": passed,
        },
    )
