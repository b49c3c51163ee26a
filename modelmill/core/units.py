"""Quantities as people read them: durations, sizes, FLOPs, rates."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def of_seconds(seconds: float | None) -> str:
    """Return a duration such as `0.4 s`, `3 min 20 s`, `2 h 5 min` or `1,200 h`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours:,} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def of_bytes(size: float) -> str:
    """Return a size such as `17 B` or `1.5 GiB`."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def prefixed(value: float, unit: str = "") -> str:
    """Return a quantity with three digits and an SI prefix, such as `4.2 TFLOP` or `2.56 M`; none below a thousand."""
    prefixes = list(_PREFIXES)
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    return f"{value:.3g} {prefixes[0]}{unit}".rstrip()
