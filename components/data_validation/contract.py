"""The contract of the data: all rows of all shards judged against a suite, in a run and outside of one."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.components.data_validation import draft as drafting
from modelmill.components.data_validation import gx_judge, quarantine
from modelmill.components.data_validation import profile as profiles
from modelmill.components.data_validation import suite as suites
from modelmill.components.data_validation.conversations import ConversationRows, MalformedRow
from modelmill.components.data_validation.judgement import Judgement
from modelmill.components.data_validation.merged_metrics import MergedMetrics, ScannedShard
from modelmill.components.data_validation.plan import Plan, make_plan, uncounted
from modelmill.components.data_validation.profile import Profile
from modelmill.components.data_validation.quarantine import LeftOut
from modelmill.components.data_validation.scan import Pass
from modelmill.components.data_validation.scanning import Progress, Scan, give_memory_back
from modelmill.components.data_validation.shard_states import ShardStates
from modelmill.components.data_validation.suite import parse
from modelmill.core.errors import GateFailed, UserError
from modelmill.data import columns
from modelmill.data.columns import SCHEMA
from modelmill.data.media.joining import UnusableRow
from modelmill.data.shard import Shard
from modelmill.recipe.sections import Quarantine
from modelmill.store.manifest import Entry, Manifest


class Quarantined(GateFailed):
    """An error: more shards are quarantined than the recipe tolerates.

    Attributes:
        left_out: The quarantined shards.
    """

    def __init__(self, message: str, left_out: list[LeftOut]) -> None:
        """Say why in `message`, and keep the shards."""
        super().__init__(message)
        self.left_out = left_out


__all__ = ["ConversationRows", "Draft", "Judgement", "Quarantined", "draft", "judge", "parse"]


class Draft(NamedTuple):
    """A suite for a person to edit, and what it was drafted from.

    Attributes:
        suite: The suite as JSON.
        profile: The columns' distributions.
        types: Arrow's types by column.
        malformed: Rows that are no conversation of their format, as `Judgement` has them.
    """

    suite: dict[str, Any]
    profile: Profile
    types: dict[str, str]
    malformed: list[dict[str, Any]]


def judge(
    path: str,
    source_shards: list[Shard],
    suite: dict[str, Any],
    progress: Progress,
    states: ShardStates | None = None,
    policy: Quarantine | None = None,
    profile: bool = False,
    conversations: ConversationRows | None = None,
) -> Judgement:
    """Judge all rows of the shards against a suite.

    Args:
        path: Where the shards lie, for messages.
        source_shards: The shards.
        suite: The suite as JSON.
        progress: Called with the shards done, their total and a text.
        states: States of scanned shards, which are not read again.
        policy: What may be left out; without it all of the data is judged as one.
        profile: Whether to profile the distributions of all columns too.
        conversations: How the rows hold conversations, whose features are columns.

    Raises:
        UserError: The suite asks for what is not supported or not there, a shard is broken, the shards do not fit
            together, or there is not a single row.
        Quarantined: More would be left out than the policy tolerates.
    """
    give_memory_back()
    checked = suites.parse(suite)
    plan = make_plan(checked)
    first = Pass(plan, profile=profile, conversations=conversations)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas', about the suite's regular expressions
        scan = Scan(source_shards, Path(folder), progress, states)
        scanned = scan.all(first, first.name, may_fail=policy is not None)
        left_out = _leave_out_unreadable(scanned, policy.samples) if policy else []
        schema, scanned = _conform(scan, first, scanned)
        if policy:
            left_out += _leave_out_broken(checked, schema, scanned, policy, Path(folder))
            _enforce(left_out, policy, len(source_shards))
            schema, scanned = _conform(scan, first, scanned)
        suites.check_columns(checked, schema.names)
        merged = MergedMetrics(schema, list(scanned.values()), Path(folder))
        if not merged.rows:
            raise UserError(f"data.path: {path}: {len(source_shards)} shards and not one row; check data.path")
        if second := _second_pass(plan, merged, conversations):
            again = Scan(list(scanned), Path(folder), progress, None).all(second, "second")
            merged.after_second_pass([one.state for one in again.values()])
        result = gx_judge.verdict(checked, merged)
        whole = profiles.merged([one.state["profile"] for one in scanned.values()]) if profile else None
    entries = [
        Entry(path=shard.path, sha256=one.state["sha256"], bytes=shard.bytes, rows=one.state["rows"])
        for shard, one in scanned.items()
    ]
    unusable = _rows(scanned, "unusable", UnusableRow)
    malformed = _rows(scanned, "malformed", MalformedRow)
    info: dict[str, Any] = {"format": source_shards[0].format, "rows": merged.rows}
    info |= {"columns": {field.name: str(field.type) for field in schema}, SCHEMA: columns.packed(schema)}
    if left_out:
        info["left_out"] = [{"path": o.shard.path, "tag": o.shard.tag, "why": o.why} for o in left_out]
    if media := source_shards[0].media:
        info["media"] = media.kind
    if conversations:
        info["conversations"] = conversations.format
    dataset = Manifest(kind="dataset", location="source", entries=entries, info=info)
    refused = uncounted(checked, schema)
    dropped = {shard.path: one.dropped for shard, one in scanned.items() if one.dropped}
    return Judgement(dataset, result, scan.read, left_out, whole, unusable, malformed, dropped, refused)


def draft(
    path: str,
    source_shards: list[Shard],
    name: str,
    progress: Progress,
    conversations: ConversationRows | None = None,
) -> Draft:
    """Return the profile of the data and a suite that all of it keeps.

    Args:
        path: Where the shards lie, for messages.
        source_shards: The shards.
        name: The name of the suite.
        progress: Called with the shards done, their total and a text.
        conversations: How the rows hold conversations, whose features are columns.

    Raises:
        UserError: A shard is broken, the shards do not fit together, or there is not a single row.
    """
    suite: dict[str, Any] = {"expectations": [drafting.ROWS]}
    known = judge(path, source_shards, suite, progress, profile=True, conversations=conversations)
    assert known.profile is not None
    suite = {"name": name, "expectations": drafting.candidates(known.profile, conversations)}
    results = judge(path, source_shards, suite, progress, conversations=conversations).result["results"]
    suite["expectations"] = drafting.kept(suite["expectations"], results)
    return Draft(suite, known.profile, known.dataset.info["columns"], known.malformed)


def _conform(scan: Scan, todo: Pass, scanned: dict[Shard, ScannedShard]) -> tuple[pa.Schema, dict[Shard, ScannedShard]]:
    """Return the schema of all shards, and their states as scanned with its types.

    Few shards are read again: those in which a column has another type than in all.

    Raises:
        UserError: Types of a column conflict.
    """
    schema = columns.bare(columns.resolve((shard, _schema(one)) for shard, one in scanned.items()))
    typed = {
        s: s._replace(schema=schema) for s, one in scanned.items() if columns.needs_conforming(_schema(one), schema)
    }
    again = scan.each(list(typed.values()), todo, todo.name)
    return schema, {typed.get(s, s): again[typed[s]] if s in typed else one for s, one in scanned.items()}


def _leave_out_unreadable(scanned: dict[Shard, ScannedShard], samples: int) -> list[LeftOut]:
    """Take out the shards that cannot be read or whose types conflict with those before, and return them."""
    left_out: list[LeftOut] = []
    kept: list[tuple[Shard, pa.Schema]] = []
    for shard, one in list(scanned.items()):
        if one.error is not None:
            left_out.append(quarantine.unreadable(shard, one.error, samples))
            del scanned[shard]
            continue
        try:
            kept = [(shard, columns.resolve([*kept, (shard, _schema(one))], is_strict=True))]
        except UserError as error:
            left_out.append(quarantine.unreadable(shard, error, samples)._replace(rows=one.state["rows"]))
            del scanned[shard]
    return left_out


def _leave_out_broken(
    suite: Any, schema: pa.Schema, scanned: dict[Shard, ScannedShard], policy: Quarantine, scratch: Path
) -> list[LeftOut]:
    """Take out the shards that break rules on single rows, and return them."""
    left_out: list[LeftOut] = []
    for shard, one in list(scanned.items()):
        results = gx_judge.broken_rules(suite, MergedMetrics(schema, [one], scratch)) if one.has_rejects else []
        if results:
            left_out.append(quarantine.broken(shard, one.state["rows"], results, policy.samples, one.dropped))
            del scanned[shard]
    return left_out


def _enforce(left_out: list[LeftOut], policy: Quarantine, total: int) -> None:
    """Check that no more is left out than the policy tolerates.

    Raises:
        Quarantined: There is.
    """
    try:
        quarantine.enforce(left_out, policy, total)
    except GateFailed as error:
        raise Quarantined(str(error), left_out) from None


def _second_pass(plan: Plan, merged: MergedMetrics, conversations: ConversationRows | None) -> Pass | None:
    """Return the pass for what needs statistics of all the data: relative conditions and repeated values."""
    repeated = {
        key: values
        for key, need in plan.unique.items()
        if (values := merged.repeated(plan.value_counts[key])) is not None
    }
    if not plan.relative and not repeated:
        return None
    again = Plan(conditions=plan.relative)
    looked_for = {key: (plan.value_counts[key], values) for key, values in repeated.items()}
    return Pass(again, merged.statistic, looked_for, conversations=conversations)


def _rows(scanned: dict[Shard, ScannedShard], what: str, kind: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return what the shards' states say of single rows, each with its shard."""
    return [{"shard": shard.path, **kind(*row)._asdict()} for shard, one in scanned.items() for row in one.state[what]]


def _schema(one: ScannedShard) -> pa.Schema:
    return columns.unpacked(one.state["schema"])
