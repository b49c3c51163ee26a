"""Schedules: cron lines, time zones, the file, and the plan that makes a cluster agree with it."""

import functools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import cron, schedules, scheduling, zones
from modelmill.pipelines.cluster.scheduling import Change, Existing, Wanted
from modelmill.pipelines.cluster.zones import Part


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("30 3 * * *", "0 30 3 * * *"),
        ("*/15 8-18 * * mon-fri", "0 0,15,30,45 8-18 * * 1-5"),
        ("0 0 1,15 JAN-mar ?", "0 0 0 1,15 1-3 *"),
        ("5/20 * * * 7", "0 5,25,45 * * * 0"),
        ("0 12 * * 5-7", "0 0 12 * * 0,5,6"),
        ("@weekly", "0 0 0 * * 0"),
        ("0-59 0-23 1-31 1-12 0-6", "0 * * * * *"),
    ],
)
def test_five_fields_become_the_six_that_kfp_reads(text: str, line: str) -> None:
    assert cron.parse(text).line() == line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("every day", "is not a cron line"),
        ("", "is not a cron line"),
        ("0 0 3 * * *", "six fields"),
        ("TZ=Europe/Berlin 0 3 * * *", "time_zone"),
        ("60 * * * *", "minute '60': 60 is not in 0-59"),
        ("0 24 * * *", "hour '24'"),
        ("0 0 0 * *", "day of month '0'"),
        ("0 0 * foo *", "month 'foo': 'foo' is not a number or a name"),
        ("0 0 * * 8", "day of week '8'"),
        ("0 5-3 * * *", "ends before it begins"),
        ("*/0 * * * *", "is not a step"),
        ("1,,2 * * * *", "is not a value"),
        ("? * * * *", "is not a value"),
        ("0 0 30 feb *", "would never run"),
        ("0 0 */2 * mon", "as lists"),
        ("\u0663 * * * *", "is not a number"),
    ],
)
def test_a_line_that_is_not_cron_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        cron.parse(text)


_parsed = functools.lru_cache(cron.parse)


def _matches(line: cron.Cron, at: datetime) -> bool:
    """What cron says of a minute, by its manual page."""
    by_day, by_weekday = at.day in line.days, at.isoweekday() % 7 in line.weekdays
    is_either = len(line.days) < 31 and len(line.weekdays) < 7
    return (
        at.minute in line.minutes
        and at.hour in line.hours
        and at.month in line.months
        and (by_day or by_weekday if is_either else by_day and by_weekday)
    )


def _runs(part: Part, at: datetime) -> bool:
    line = _parsed(part.line.removeprefix("0 "))
    is_within = (part.start is None or at >= part.start) and (part.end is None or at < part.end)
    return is_within and _matches(line, at)


def _some(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    return st.one_of(
        st.just(frozenset(range(low, high + 1))), st.frozensets(st.integers(low, high), min_size=1, max_size=4)
    )


_LINES = st.builds(cron.Cron, _some(0, 59), _some(0, 23), _some(1, 31), _some(1, 12), _some(0, 6))
_NAMES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Tokyo", "Australia/Lord_Howe"]
NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


@settings(max_examples=40, deadline=None)
@given(_LINES, st.sampled_from(_NAMES), st.sampled_from(_NAMES[:2]), st.integers(0, 360))
def test_what_kfp_runs_in_its_zone_is_what_the_line_says_in_its_own(
    line: cron.Cron, own: str, scheduler: str, day: int
) -> None:
    try:
        parts = zones.parts(line, ZoneInfo(own), ZoneInfo(scheduler), NOW)
    except ValueError:
        assume(False)
    first = NOW + timedelta(days=day)
    for minutes in range(0, 24 * 60, 7):
        at = first + timedelta(minutes=minutes)
        there = [part for part in parts if _runs(part, at.astimezone(ZoneInfo(scheduler)))]
        assert bool(there) == _matches(line, at.astimezone(ZoneInfo(own))), at
        assert len(there) < 2


@pytest.mark.parametrize("change", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
def test_around_a_change_of_clocks_every_minute_is_right(change: datetime) -> None:
    line, own = cron.parse("*/10 1-3 * * *"), ZoneInfo("Europe/Berlin")
    parts = zones.parts(line, own, ZoneInfo("UTC"), NOW)
    for minutes in range(-300, 300):
        at = change + timedelta(minutes=minutes)
        assert any(_runs(part, at) for part in parts) == _matches(line, at.astimezone(own)), at


def test_a_zone_without_changes_of_clocks_needs_one_recurring_run() -> None:
    tokyo = zones.parts(cron.parse("30 3 * * mon"), ZoneInfo("Asia/Tokyo"), ZoneInfo("UTC"), NOW)
    assert tokyo == [Part("0 30 18 * * 0")]
    same = zones.parts(cron.parse("30 3 * * mon"), ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Berlin"), NOW)
    assert same == [Part("0 30 3 * * 1")]


def test_the_windows_stay_the_same_until_the_clocks_change() -> None:
    line = cron.parse("30 3 * * *")
    berlin, utc = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
    one, other = (zones.parts(line, berlin, utc, NOW + timedelta(days=days, minutes=31)) for days in (0, 30))
    assert one == other
    assert [part.line for part in one] == ["0 30 2 * * *", "0 30 1 * * *", "0 30 2 * * *"]
    later = zones.parts(line, berlin, utc, NOW + timedelta(days=60))
    assert later[:1] == one[1:2]


@pytest.mark.parametrize("text", ["0 0 1 * *", "0 0 * jan *", "30 0 31 * *"])
def test_a_day_that_cron_cannot_say_in_the_schedulers_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="another day"):
        zones.parts(cron.parse(text), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), NOW)


def _file(folder: Path, text: str) -> Path:
    path = folder / "schedules.yaml"
    path.write_text(text)
    return path


def test_a_file_has_defaults_and_recipes_beside_it(tmp_path: Path) -> None:
    (one,) = schedules.load(_file(tmp_path, "schedules: [{name: a, recipe: r.yaml, cron: '0 3 * * *'}]"))
    assert Path(one.recipe) == tmp_path / "r.yaml"
    assert (one.time_zone, one.max_concurrency, one.catch_up, one.enabled) == ("UTC", 1, False, True)


ENTRY = "name: a, recipe: r.yaml, cron: '0 3 * * *'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedules: [{name: a, recipe: r.yaml, cron: '0 25 * * *'}]", "schedules.0 (a): cron: hour '25'"),
        (f"schedules: [{{{ENTRY}, time_zone: Europe/Berlim}}]", "'Europe/Berlim' is not a time zone"),
        (f"schedules: [{{{ENTRY}, time_zone: ../../etc/passwd}}]", "is not a time zone"),
        (f"schedules: [{{{ENTRY}, max_concurency: 2}}]", "did you mean 'max_concurrency'?"),
        (f"schedules: [{{{ENTRY}, max_concurrency: 11}}]", "max_concurrency"),
        (f"schedules: [{{{ENTRY}}}, {{{ENTRY}}}]", "two schedules have the name 'a'"),
        ("schedules: [{name: A_b, recipe: r.yaml, cron: '0 3 * * *'}]", "name"),
        ("schedules: [a]", "schedules.0: a schedule is a mapping"),
        ("schedules: []\nschedule: []", "nothing beside it"),
        ("schedules: [{name: a, cron: '0 3 * * *'}]", "recipe: this key is needed"),
        ("- a", "under the key schedules"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        schedules.load(_file(tmp_path, text))
    assert said in str(caught.value)
    assert "schedules.yaml" in str(caught.value)


def test_a_machine_without_time_zones_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "available_timezones", set)
    with pytest.raises(ValueError, match="pip install tzdata"):
        zones.zone("Europe/Nowhere")


_WANTED = st.lists(
    st.builds(
        Wanted,
        schedule=st.sampled_from(["a", "b", "c"]),
        part=st.sampled_from([Part("0 0 3 * * *"), Part("0 0 4 * * *"), Part("0 0 3 * * *", NOW)]),
        pipeline=st.just("p"),
        version=st.sampled_from(["v1", "v2"]),
        service_account=st.just("s"),
        max_concurrency=st.sampled_from([1, 2]),
        catch_up=st.booleans(),
        enabled=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda one: one.digest,
)


class _Cluster:
    """Recurring runs as KFP keeps them: by id, immutable but for the switch."""

    def __init__(self, runs: list[SimpleNamespace]) -> None:
        self.runs = {run.recurring_run_id: run for run in runs}
        self.made = len(runs)

    def found(self) -> list[Existing]:
        return [one for one in map(scheduling.recognise, self.runs.values()) if one is not None]

    def do(self, change: Change) -> None:
        if change.wanted is not None:
            self.made += 1
            self.runs[f"id-{self.made}"] = _run(f"id-{self.made}", change.wanted)
        elif change.action == "delete":
            del self.runs[str(change.id)]
        else:
            self.runs[str(change.id)].status = {"enable": "ENABLED", "disable": "DISABLED"}[change.action]


def _run(number: str, wanted: Wanted, **changes: str) -> SimpleNamespace:
    run = SimpleNamespace(
        recurring_run_id=number,
        display_name=scheduling.PREFIX + wanted.schedule,
        description=wanted.description,
        status="ENABLED" if wanted.enabled else "DISABLED",
    )
    run.__dict__.update(changes)
    return run


_FOREIGN = [
    SimpleNamespace(recurring_run_id="f1", display_name="modelmill-a", description=None, status="ENABLED"),
    SimpleNamespace(recurring_run_id="f2", display_name="by hand", description="nightly", status="ENABLED"),
    _run("f3", Wanted("a", Part("0 0 3 * * *"), "p", "v1", "recipes/1.json", "s"), display_name="modelmill-b"),
    _run(
        "f4", Wanted("a", Part("0 0 3 * * *"), "p", "v1", "recipes/1.json", "s"), description="modelmill schedule a 12"
    ),
]


@settings(deadline=None)
@given(_WANTED, _WANTED, st.lists(st.integers(0, 4), max_size=2), st.integers(0, 20))
def test_the_plan_gives_what_is_wanted_wherever_it_is_interrupted(
    before: list[Wanted], wanted: list[Wanted], twice: list[int], done: int
) -> None:
    present = before + [before[n] for n in twice if n < len(before)]
    cluster = _Cluster([_run(f"id-{n}", one) for n, one in enumerate(present, 1)] + _FOREIGN)
    lasting = {one.schedule for one in before} & {one.schedule for one in wanted}
    for change in scheduling.difference(wanted, cluster.found())[:done]:
        cluster.do(change)
        assert lasting <= {one.schedule for one in cluster.found()}
    for change in scheduling.difference(wanted, cluster.found()):
        cluster.do(change)
    assert sorted((one.digest, one.enabled) for one in cluster.found()) == sorted(
        (one.digest, one.enabled) for one in wanted
    )
    assert scheduling.difference(wanted, cluster.found()) == []
    assert all(cluster.runs[run.recurring_run_id] == run for run in _FOREIGN)


def test_changes_say_why() -> None:
    old, new = (Wanted("a", Part("0 0 3 * * *"), "p", version, "recipes/1.json", "s") for version in ("v1", "v2"))
    gone = Wanted("gone", Part("0 0 3 * * *"), "p", "v1", "recipes/1.json", "s")
    found = [Existing("1", "a", old.digest, True), Existing("2", "gone", gone.digest, True)]
    assert [(c.action, c.schedule, c.reason) for c in scheduling.difference([new], found)] == [
        ("create", "a", "its definition changed"),
        ("delete", "a", "replaced"),
        ("delete", "gone", "not in the file"),
    ]
    paused = [old._replace(enabled=False), gone]
    assert [(c.action, c.id) for c in scheduling.difference(paused, found)] == [("disable", "1")]
