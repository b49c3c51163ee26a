"""Cron lines as people write them: five fields, read into sets, and written as KFP's scheduler reads them."""

import re
from itertools import groupby
from typing import NamedTuple

_MONTHS = dict(
    zip(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], range(1, 13), strict=True)
)
_WEEKDAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))
_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_TERM = re.compile(r"(?P<every>[*?])|(?P<first>\w+)(-(?P<last>\w+))?")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: dict[str, int] = {}

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


MINUTE, HOUR = _Field("minute", 0, 59), _Field("hour", 0, 23)
DAY, MONTH = _Field("day of month", 1, 31), _Field("month", 1, 12, _MONTHS)
WEEKDAY = _Field("day of week", 0, 6, _WEEKDAYS)
_FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class Cron(NamedTuple):
    """Times of a schedule: on days of the month or of the week, whichever fits, where neither is every day."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def line(self) -> str:
        """Return the line for KFP's scheduler (robfig/cron 1.2), which begins with seconds and knows no time zone."""
        return " ".join(["0", *(_written(values, field) for values, field in zip(self, _FIELDS, strict=True))])


def parse(text: str) -> Cron:
    """Read five fields, or a word such as @daily.

    Raises:
        ValueError: A field is wrong; the message says which and why.
    """
    words = _SHORT.get(text.strip().lower(), text).split()
    if words and words[0].upper().startswith(("TZ=", "CRON_TZ=")):
        raise ValueError(f"{text!r}: the time zone has a key of its own, time_zone")
    if len(words) == 6:
        raise ValueError(f"{text!r} has six fields; leave the seconds away: minute hour day month weekday")
    if len(words) != 5:
        raise ValueError(f"{text!r} is not a cron line; write five fields, for example '30 3 * * mon-fri'")
    cron = Cron(*(_read(word, field) for word, field in zip(words, _FIELDS, strict=True)))
    _check(text, words, cron)
    return cron


def _check(text: str, words: list[str], cron: Cron) -> None:
    by_day, by_weekday = cron.days != DAY.all, cron.weekdays != WEEKDAY.all
    if by_day and by_weekday and ("*" in words[2] or "*" in words[4]):
        # With a star, cron takes days that fit both; without, days that fit either.
        raise ValueError(f"{text!r}: with a day of month and a day of week, write both as lists, without *")
    if not by_weekday and not any(day <= _LONGEST.get(month, 31) for day in cron.days for month in cron.months):
        raise ValueError(f"{text!r}: there is no such day, it would never run")


def _read(text: str, field: _Field) -> frozenset[int]:
    values: set[int] = set()
    for term in text.lower().split(","):
        span, slash, step = term.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
            raise ValueError(f"{field.name} {text!r}: {step!r} is not a step, write for example */15")
        first, last = _span(text, span, field, is_open=bool(slash))
        values.update(range(first, last + 1, int(step or 1)))
    return frozenset(value % 7 for value in values) if field is WEEKDAY else frozenset(values)


def _span(text: str, span: str, field: _Field, is_open: bool) -> tuple[int, int]:
    term = _TERM.fullmatch(span)
    if not term or (span == "?" and field not in (DAY, WEEKDAY)):
        raise ValueError(f"{field.name} {text!r}: {span!r} is not a value, a range or *")
    if term["every"]:
        return field.low, field.high
    first = _value(text, term["first"], field)
    last = _value(text, term["last"], field) if term["last"] else field.high if is_open else first
    if first > last:
        raise ValueError(f"{field.name} {text!r}: {span!r} ends before it begins")
    return first, last


def _value(text: str, word: str, field: _Field) -> int:
    if word in field.words:
        return field.words[word]
    high = 7 if field is WEEKDAY else field.high
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{field.name} {text!r}: {word!r} is not a number{' or a name' if field.words else ''}")
    if not field.low <= int(word) <= high:
        raise ValueError(f"{field.name} {text!r}: {word} is not in {field.low}-{high}")
    return int(word)


def _written(values: frozenset[int], field: _Field) -> str:
    if values == field.all:
        return "*"
    runs = [
        [value for _, value in run] for _, run in groupby(enumerate(sorted(values)), lambda pair: pair[1] - pair[0])
    ]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
