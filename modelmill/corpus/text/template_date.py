"""The date that a chat template writes, so that equal work is equal whatever the day and the machine's language."""

import re
from datetime import date

_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def written(day: date, form: str) -> str:
    """Return a date, at midnight, as `strftime` writes it in English.

    Args:
        day: The date.
        form: What `strftime` takes; codes that are not known stay as they are.
    """
    month, weekday = _MONTHS[day.month - 1], _DAYS[day.weekday()]
    values = {"Y": f"{day.year:04}", "y": f"{day.year % 100:02}", "B": month, "b": month[:3], "A": weekday}
    values |= {"a": weekday[:3], "m": f"{day.month:02}", "-m": f"{day.month}", "d": f"{day.day:02}"}
    values |= {"-d": f"{day.day}", "e": f"{day.day:2}", "j": f"{day.timetuple().tm_yday:03}"}
    values |= {"H": "00", "I": "12", "M": "00", "S": "00", "p": "AM"}
    return re.sub("%(-?[A-Za-z])", lambda match: values.get(match.group(1), match.group()), form)
