"""The data against its contract: every row of every shard, in a run and outside one."""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.common import shards
from components.common.errors import UserError
from components.common.manifest import Entry, Manifest
from components.common.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data_validation.merged import Merged, ScannedShard
    from components.data_validation.plan import Plan
    from components.data_validation.scan import Pass
    from components.data_validation.shard_states import ShardStates

Progress = Callable[[float, float, str], None]


class Judgement(NamedTuple):
    """What was judged, and Great Expectations' verdict on it.

    dataset: manifest of the shards, where they lie. result: Great Expectations' result as JSON, without times or ids.
    scanned: how many shards were read, and not known from before.
    """

    dataset: Manifest
    result: dict[str, Any]
    scanned: int

    @property
    def success(self) -> bool:
        return bool(self.result["success"])

    def explain(self) -> str:
        """Why the data did not pass, on one line."""
        from components.data_validation import verdict

        return verdict.explain(self.result, self.dataset.entries)

    def findings(self) -> list[tuple[bool, str, str]]:
        """For each expectation whether it holds, its name with its columns, and what was found."""
        from components.data_validation import verdict

        shards = self.dataset.entries
        return [(r["success"], verdict.name(r), verdict.finding(r, shards)) for r in self.result["results"]]

    def data_docs(self) -> bytes:
        """Great Expectations' Data Docs as one HTML page."""
        from components.data_validation import data_docs

        return data_docs.render(self.result).encode()


def judge(
    path: str, found: list[Shard], suite: dict[str, Any], progress: Progress, states: "ShardStates | None" = None
) -> Judgement:
    """Hold all rows of the shards against a suite.

    Args:
        path: where the shards were found, for messages. progress: is told how many shards are done, of how many.
        states: of shards that were scanned before; they are not read again.
    Raises:
        UserError: the suite asks for what is not supported or not there, a shard is broken, the shards do not fit
            together, or there is not one row.
    """
    from components.data_validation import judge as great_expectations
    from components.data_validation import suite as suites
    from components.data_validation.merged import Merged
    from components.data_validation.plan import make_plan
    from components.data_validation.scan import Pass

    checked = suites.parse(suite)
    plan = make_plan(checked)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder:
        scan = _Scan(found, Path(folder), progress, states)
        scanned = scan.all(Pass(plan), plan.digest)
        schema = shards.unify([(shard, _schema(one)) for shard, one in zip(found, scanned, strict=True)])
        suites.check_columns(checked, schema.names)
        merged = Merged(schema, scanned, Path(folder))
        if not merged.rows:
            raise UserError(f"data.path: {path}: {len(found)} shards and not one row; check data.path")
        if second := _second_pass(plan, merged):
            merged.after_second_pass([one.state for one in scan.all(second, None)])
        result = great_expectations.verdict(checked, merged)
        entries = [
            Entry(path=shard.path, sha256=one.state["sha256"], bytes=shard.bytes, rows=one.state["rows"])
            for shard, one in zip(found, scanned, strict=True)
        ]
    columns = {field.name: str(field.type) for field in schema}
    info = {"format": found[0].format, "rows": merged.rows, "columns": columns}
    return Judgement(Manifest(kind="dataset", location="source", entries=entries, info=info), result, scan.read)


class _Scan:
    """Passes over the shards, as many at once as there are cores."""

    def __init__(self, found: list[Shard], scratch: Path, progress: Progress, states: "ShardStates | None") -> None:
        self._found, self._scratch, self._progress, self._states = found, scratch, progress, states
        self.read = 0
        self._done = 0

    def all(self, todo: "Pass", name: str | None) -> "list[ScannedShard]":
        """Every shard's state, in order; kept and found again under `name`, if there is one."""
        self._done = 0
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            futures = [pool.submit(self._one, number, shard, todo, name) for number, shard in enumerate(self._found)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, number: int, shard: Shard, todo: "Pass", name: str | None) -> "ScannedShard":
        from components.data_validation.merged import ScannedShard
        from components.data_validation.scan import scan

        known = self._states.find(shard, name) if self._states and name else None
        if known is None:
            folder = self._scratch / f"{name or 'second'}-{number}"
            folder.mkdir()
            known = ScannedShard(scan(shard, todo, folder), {file.name: file for file in sorted(folder.iterdir())})
            self.read += 1
            if self._states and name:
                self._states.keep(shard, name, known)
        self._done += 1
        self._progress(self._done, len(self._found) + 1, f"scanning {shard.path}")
        return known


def _second_pass(plan: "Plan", merged: "Merged") -> "Pass | None":
    """What needs values of all the data first: conditions relative to them, and rows whose values repeat."""
    from components.data_validation.plan import Plan
    from components.data_validation.scan import Pass

    repeated = {
        key: values for key, need in plan.unique.items() if (values := merged.repeated(plan.tallies[key])) is not None
    }
    if not plan.relative and not repeated:
        return None
    again = Plan(conditions=plan.relative)
    return Pass(again, merged.statistic, {key: (plan.tallies[key], values) for key, values in repeated.items()})


def _schema(one: "ScannedShard") -> "pa.Schema":
    from components.data_validation.scan import unpack

    return unpack(one.state["schema"]).schema
