"""The data against its contract: every row of every shard, in a run and outside one."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.common import shards
from components.common.errors import GateFailed, UserError
from components.common.manifest import Entry, Manifest
from components.common.recipe.sections import Quarantine
from components.common.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data_validation.merged import Merged, ScannedShard
    from components.data_validation.plan import Plan
    from components.data_validation.profile import Profile
    from components.data_validation.quarantine import LeftOut
    from components.data_validation.scan import Pass
    from components.data_validation.shard_states import ShardStates

Progress = Callable[[float, float, str], None]


class Quarantined(GateFailed):
    """More is quarantined than the recipe tolerates; `left_out` says what."""

    def __init__(self, message: str, left_out: "list[LeftOut]") -> None:
        super().__init__(message)
        self.left_out = left_out


class Judgement(NamedTuple):
    """What was judged, and Great Expectations' verdict on it.

    dataset: manifest of the shards, where they lie. result: Great Expectations' result as JSON, without times or ids.
    scanned: how many shards were read, and not known from before. left_out: shards that were quarantined.
    profile: the columns' distributions, if they were asked for.
    """

    dataset: Manifest
    result: dict[str, Any]
    scanned: int
    left_out: "list[LeftOut]"
    profile: "Profile | None"

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


class Draft(NamedTuple):
    """A suite for a person to edit, and what it was drafted from; types are Arrow's, by column."""

    suite: dict[str, Any]
    profile: "Profile"
    types: dict[str, str]


def judge(
    path: str,
    found: list[Shard],
    suite: dict[str, Any],
    progress: Progress,
    states: "ShardStates | None" = None,
    policy: Quarantine | None = None,
    profile: bool = False,
) -> Judgement:
    """Hold all rows of the shards against a suite.

    Args:
        path: where the shards were found, for messages. progress: is told how many shards are done, of how many.
        states: of shards that were scanned before; they are not read again. policy: what may be left out; without it
            all of the data is judged as one. profile: whether to look at the distributions of all columns as well.
    Raises:
        UserError: the suite asks for what is not supported or not there, a shard is broken, the shards do not fit
            together, or there is not one row.
        Quarantined: more was left out than the policy tolerates.
    """
    from components.data_validation import judge as great_expectations
    from components.data_validation import profile as profiles
    from components.data_validation import suite as suites
    from components.data_validation.merged import Merged
    from components.data_validation.plan import make_plan
    from components.data_validation.scan import Pass

    _give_memory_back()
    checked = suites.parse(suite)
    plan = make_plan(checked)
    first = Pass(plan, profile=profile)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas', about the suite's regular expressions
        scan = _Scan(found, Path(folder), progress, states)
        scanned = scan.all(first, first.name, may_fail=policy is not None)
        left_out = _leave_out(checked, scanned, policy, Path(folder)) if policy else []
        scanned = {shard: one for shard, one in scanned.items() if shard not in {o.shard for o in left_out}}
        schema = shards.unify([(shard, _schema(one)) for shard, one in scanned.items()])
        suites.check_columns(checked, schema.names)
        merged = Merged(schema, list(scanned.values()), Path(folder))
        if not merged.rows:
            raise UserError(f"data.path: {path}: {len(found)} shards and not one row; check data.path")
        if second := _second_pass(plan, merged):
            again = _Scan(list(scanned), Path(folder), progress, None).all(second, "second")
            merged.after_second_pass([one.state for one in again.values()])
        result = great_expectations.verdict(checked, merged)
        whole = profiles.merged([one.state["profile"] for one in scanned.values()]) if profile else None
    entries = [
        Entry(path=shard.path, sha256=one.state["sha256"], bytes=shard.bytes, rows=one.state["rows"])
        for shard, one in scanned.items()
    ]
    columns = {field.name: str(field.type) for field in schema}
    info: dict[str, Any] = {"format": found[0].format, "rows": merged.rows, "columns": columns}
    if left_out:
        info["left_out"] = [{"path": o.shard.path, "tag": o.shard.tag, "why": o.why} for o in left_out]
    dataset = Manifest(kind="dataset", location="source", entries=entries, info=info)
    return Judgement(dataset, result, scan.read, left_out, whole)


def scan_only(found: list[Shard], suite: dict[str, Any], states: "ShardStates") -> int:
    """Scan shards as a run does and keep their states; what is wrong with them is said by who judges.

    Returns:
        How many shards were read.
    """
    from components.data_validation import suite as suites
    from components.data_validation.plan import make_plan
    from components.data_validation.scan import Pass

    _give_memory_back()
    first = Pass(make_plan(suites.parse(suite)), profile=True)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = _Scan(found, Path(folder), lambda done, total, text: None, states)
        scan.all(first, first.name, may_fail=True)
    return scan.read


def draft(path: str, found: list[Shard], name: str, progress: Progress) -> "Draft":
    """What the data looks like, and a suite called `name` that all of it keeps.

    Raises:
        UserError: a shard is broken, the shards do not fit together, or there is not one row.
    """
    from components.data_validation import draft as drafting

    known = judge(path, found, {"expectations": [drafting.ROWS]}, progress, profile=True)
    assert known.profile is not None
    suite = {"name": name, "expectations": drafting.candidates(known.profile)}
    results = judge(path, found, suite, progress).result["results"]
    suite["expectations"] = [e for e, r in zip(suite["expectations"], results, strict=True) if r["success"]]
    return Draft(suite, known.profile, known.dataset.info["columns"])


def _leave_out(suite: Any, scanned: "dict[Shard, ScannedShard]", policy: Quarantine, scratch: Path) -> "list[LeftOut]":
    """The shards to quarantine: unreadable, of another schema than those before, or breaking rules on single rows.

    Raises:
        Quarantined: they are more than the policy tolerates.
    """
    from components.data_validation import judge as great_expectations
    from components.data_validation import quarantine
    from components.data_validation.merged import Merged

    left_out: list[LeftOut] = []
    kept: list[tuple[Shard, pa.Schema]] = []
    for shard, one in scanned.items():
        if one.error is not None:
            left_out.append(quarantine.unreadable(shard, one.error))
            continue
        try:
            schema = shards.unify([*kept, (shard, _schema(one))])
        except UserError as error:
            left_out.append(quarantine.unreadable(shard, error)._replace(rows=one.state["rows"]))
            continue
        results = (
            great_expectations.broken_rules(suite, Merged(_schema(one), [one], scratch)) if one.has_rejects else []
        )
        if results:
            left_out.append(quarantine.broken(shard, one.state["rows"], results, policy.samples))
            continue
        kept = [(shard, schema)]
    try:
        quarantine.enforce(left_out, policy, len(scanned))
    except GateFailed as error:
        raise Quarantined(str(error), left_out) from None
    return left_out


def _give_memory_back() -> None:
    """Arrow's other allocators keep what many pieces needed; a scan's peak would grow with the number of shards."""
    import pyarrow as pa

    with contextlib.suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())


class _Scan:
    """Passes over the shards, as many at once as there are cores."""

    def __init__(self, found: list[Shard], scratch: Path, progress: Progress, states: "ShardStates | None") -> None:
        self._found, self._scratch, self._progress, self._states = found, scratch, progress, states
        self.read = 0
        self._done = 0

    def all(self, todo: "Pass", name: str, may_fail: bool = False) -> "dict[Shard, ScannedShard]":
        """Every shard's state, in order; kept and found again under `name`.

        Raises:
            UserError: a shard cannot be read, and not `may_fail`.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            futures = {
                shard: pool.submit(self._one, number, shard, todo, name, may_fail)
                for number, shard in enumerate(self._found)
            }
            try:
                return {shard: future.result() for shard, future in futures.items()}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, number: int, shard: Shard, todo: "Pass", name: str, may_fail: bool) -> "ScannedShard":
        from components.data_validation.merged import ScannedShard
        from components.data_validation.scan import scan

        known = self._states.find(shard, name) if self._states else None
        if known is None:
            folder = self._scratch / f"{name}-{number}"
            folder.mkdir()
            self.read += 1
            try:
                state = scan(shard, todo, folder)
            except UserError as error:
                if not may_fail:
                    raise
                return ScannedShard({}, {}, error)
            known = ScannedShard(state, {file.name: file for file in sorted(folder.iterdir())})
            if self._states:
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
    from components.data_validation.packing import unpack

    return unpack(one.state["schema"]).schema
