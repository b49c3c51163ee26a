"""A cron line in one time zone, as lines in the only zone that KFP's scheduler has.

KFP reads every cron line in one zone (CRON_SCHEDULE_TIMEZONE, UTC if it is not set). Where the clocks of the two zones
do not change together, a line holds from one change to the next only: each such window is a recurring run of its own.
"""

import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from modelmill.pipelines.cluster.cron import DAY, HOUR, MONTH, WEEKDAY, Cron

AHEAD, BEHIND = timedelta(days=370), timedelta(days=370)
_STEP = timedelta(minutes=30)


class Part(NamedTuple):
    """A line of six fields, and the first moment at which it holds and the first at which it no longer does."""

    line: str
    start: datetime | None = None
    end: datetime | None = None


class Window(NamedTuple):
    """From `start` until `end` the clock of the one zone is `minutes` ahead of the other's."""

    minutes: int
    start: datetime | None = None
    end: datetime | None = None


def zone(name: str) -> ZoneInfo:
    """The time zone of this name.

    Raises:
        ValueError: there is none, or this machine has no database of them.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not available_timezones():
            raise ValueError(f"{name!r}: this machine has no time zones; pip install tzdata") from None
        raise ValueError(f"{name!r} is not a time zone; write one such as Europe/Berlin, or UTC") from None


def parts(cron: Cron, own: ZoneInfo, scheduler: ZoneInfo, now: datetime) -> list[Part]:
    """What KFP has to be told so that the line's times are in the zone `own`, from the last change of clocks on.

    The last window has no end: a schedule that nobody applies for a year is an hour off, but it runs.

    Raises:
        ValueError: a line of the scheduler cannot say it.
    """
    if own.key == scheduler.key:
        return [Part(cron.line())]
    found = windows(own, scheduler, now.replace(minute=0, second=0, microsecond=0))
    return [Part(one.line(), w.start, w.end) for w in found for one in shift(cron, -w.minutes)]


@lru_cache
def windows(own: ZoneInfo, other: ZoneInfo, now: datetime) -> list[Window]:
    """The windows from the one that `now` is in on, as far as AHEAD; one without bounds if nothing changes."""
    changes, at = [], now - BEHIND
    apart = _apart(own, other, at)
    while at < now + AHEAD:
        before, apart = apart, _apart(own, other, at + _STEP)
        if apart != before:
            changes.append(_change(own, other, at, at + _STEP))
        at += _STEP
    past = [at for at in changes if at <= now]
    edges = [past[-1] if past else None, *(at for at in changes if at > now), None]
    return [
        Window(_apart(own, other, start or (end - _STEP if end else now)), start, end)
        for start, end in itertools.pairwise(edges)
    ]


def _apart(own: ZoneInfo, other: ZoneInfo, at: datetime) -> int:
    one, two = at.astimezone(own).utcoffset(), at.astimezone(other).utcoffset()
    return int(((one or timedelta()) - (two or timedelta())).total_seconds() // 60)


def _change(own: ZoneInfo, other: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first minute at which they are as far apart as at `after`."""
    while after - before > timedelta(minutes=1):
        middle = before + timedelta(minutes=(after - before) // timedelta(minutes=2))
        if _apart(own, other, middle) == _apart(own, other, before):
            before = middle
        else:
            after = middle
    return after.astimezone(UTC)


def shift(cron: Cron, minutes: int) -> list[Cron]:
    """Lines that together run `minutes` after the given one.

    Raises:
        ValueError: the day of the month that this would be differs from month to month.
    """
    is_daily = (cron.days, cron.months, cron.weekdays) == (DAY.all, MONTH.all, WEEKDAY.all)
    at: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for hour in HOUR.all & cron.hours:
        for minute in cron.minutes:
            days, rest = divmod(hour * 60 + minute + minutes, 24 * 60)
            at[0 if is_daily else days][rest // 60].add(rest % 60)
    return [line for days, times in sorted(at.items()) for line in _lines(_on(cron, days), times)]


def _lines(cron: Cron, times: dict[int, set[int]]) -> list[Cron]:
    """A line for the hours that have the same minutes."""
    hours: dict[frozenset[int], set[int]] = defaultdict(set)
    for hour, minutes in times.items():
        hours[frozenset(minutes)].add(hour)
    chosen = sorted(hours.items(), key=lambda pair: min(pair[1]))
    return [cron._replace(minutes=minutes, hours=frozenset(of)) for minutes, of in chosen]


def _on(cron: Cron, days: int) -> Cron:
    """The same line, its days so many later."""
    if days == 0:
        return cron
    moved = frozenset(day + days for day in cron.days)
    if (cron.days, cron.months) == (DAY.all, MONTH.all):
        moved = cron.days
    elif cron.days == DAY.all or min(moved) < 1 or max(moved | cron.days) > 28:
        raise ValueError("falls on another day in the scheduler's time zone, where a cron line cannot say which")
    return cron._replace(days=moved, weekdays=frozenset((day + days) % 7 for day in cron.weekdays))
