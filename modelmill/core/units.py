"""Quantities as people read them: durations, sizes, FLOPs, rates."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def of_seconds(seconds: float | None) -> str:
    """`0.4 s`, `3 min 20 s`, `2 h 5 min`, `1,200 h`."""
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
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def prefixed(value: float, unit: str = "") -> str:
    """Three digits and a prefix of the SI: `4.2 TFLOP`, `2.56 M`; what is below a thousand has none."""
    prefixes = list(_PREFIXES)
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    return f"{value:.3g} {prefixes[0]}{unit}".rstrip()
