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
    """A line of six fields that holds from the moment `start` until the moment `end`."""

    line: str
    start: datetime | None = None
    end: datetime | None = None


class Window(NamedTuple):
    """A time from `start` until `end` in which one zone's clock is `minutes` ahead of the other's."""

    minutes: int
    start: datetime | None = None
    end: datetime | None = None


def zone(name: str) -> ZoneInfo:
    """Return the time zone of this name.

    Raises:
        ValueError: There is none, or this machine has no database of them.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not available_timezones():
            raise ValueError(f"{name!r}: this machine has no time zones; pip install tzdata") from None
        raise ValueError(f"{name!r} is not a time zone; write one such as Europe/Berlin, or UTC") from None


def parts(cron: Cron, own: ZoneInfo, scheduler: ZoneInfo, now: datetime) -> list[Part]:
    """Return lines for KFP whose times are the cron's in its own zone, from the last change of clocks on.

    The last window has no end: a schedule that nobody applies for a year is an hour off, but it runs.

    Args:
        cron: The line as it was written.
        own: The zone that it is in.
        scheduler: The zone of KFP's scheduler.
        now: The time now.

    Raises:
        ValueError: No line of the scheduler has these times.
    """
    if own.key == scheduler.key:
        return [Part(cron.line())]
    shifts = windows(own, scheduler, now.replace(minute=0, second=0, microsecond=0))
    return [Part(one.line(), w.start, w.end) for w in shifts for one in shift(cron, -w.minutes)]


@lru_cache
def windows(own: ZoneInfo, other: ZoneInfo, now: datetime) -> list[Window]:
    """Return the windows from the one that `now` is in on, as far as AHEAD; one without bounds if nothing changes.

    Args:
        own: The zone whose clock is ahead.
        other: The zone that it is ahead of.
        now: The time now.
    """
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
    """Return the first minute at which the zones are as far apart as at `after`."""
    while after - before > timedelta(minutes=1):
        middle = before + timedelta(minutes=(after - before) // timedelta(minutes=2))
        if _apart(own, other, middle) == _apart(own, other, before):
            before = middle
        else:
            after = middle
    return after.astimezone(UTC)


def shift(cron: Cron, minutes: int) -> list[Cron]:
    """Return lines that together run some minutes after the given one.

    Args:
        cron: The line.
        minutes: How much later; negative for earlier.

    Raises:
        ValueError: The day of the month that this would be differs from month to month.
    """
    is_daily = (cron.days, cron.months, cron.weekdays) == (DAY.all, MONTH.all, WEEKDAY.all)
    at: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for hour in HOUR.all & cron.hours:
        for minute in cron.minutes:
            days, rest = divmod(hour * 60 + minute + minutes, 24 * 60)
            at[0 if is_daily else days][rest // 60].add(rest % 60)
    return [line for days, times in sorted(at.items()) for line in _lines(_on(cron, days), times)]


def _lines(cron: Cron, times: dict[int, set[int]]) -> list[Cron]:
    """Return a line for the hours that have the same minutes."""
    hours: dict[frozenset[int], set[int]] = defaultdict(set)
    for hour, minutes in times.items():
        hours[frozenset(minutes)].add(hour)
    chosen = sorted(hours.items(), key=lambda pair: min(pair[1]))
    return [cron._replace(minutes=minutes, hours=frozenset(of)) for minutes, of in chosen]


def _on(cron: Cron, days: int) -> Cron:
    """Return the same line, its days so many later."""
    if days == 0:
        return cron
    moved = frozenset(day + days for day in cron.days)
    if (cron.days, cron.months) == (DAY.all, MONTH.all):
        moved = cron.days
    elif cron.days == DAY.all or min(moved) < 1 or max(moved | cron.days) > 28:
        raise ValueError("falls on another day in the scheduler's time zone, where a cron line cannot say which")
    return cron._replace(days=moved, weekdays=frozenset((day + days) % 7 for day in cron.weekdays))
