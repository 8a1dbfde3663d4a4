"""Sizes for people's eyes."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def show_size(size_bytes: int, *, signed: bool = False) -> str:
    """`0 B`, `999 B`, `1.2 kB`, `45 MB`: powers of 1000, at most three digits. `signed`: with a sign, for a difference."""
    sign = "-" if size_bytes < 0 else "+" if signed else ""
    value, unit = float(abs(size_bytes)), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit and value < 9.95 else 0
    return f"{sign}{value:.{digits}f} {_UNITS[unit]}"
