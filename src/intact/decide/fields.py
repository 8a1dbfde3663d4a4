"""Reading a declared object field by field: every error names the whole path of the field and what is allowed there.

In comes what a YAML or JSON parser made, out come plain values; nothing is guessed, and a field nobody asked for is an error.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, TypeVar

from intact.model.errors import InputError

E = TypeVar("E", bound=Enum)

MAX_TEXT = 1024
MAX_DURATION_S = 10 * 365 * 86_400.0
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|d|h|m|s)")


@dataclass(frozen=True, slots=True)
class Field:
    """One value and where it stands: `IntegrityPolicy shop/web: spec.respond[0].when.level`."""

    value: object
    place: str
    owner: str

    def fail(self, message: str, allowed: str = "") -> NoReturn:
        """Raises InputError for this field."""
        raise InputError(f"{self.owner}: {self.place}: {message}", code="InvalidPolicy", hint=f"allowed: {allowed}" if allowed else "")

    @property
    def is_given(self) -> bool:
        return self.value is not None

    def mapping(self, *allowed: str) -> Mapping[str, Field]:
        """The fields of an object, all of `allowed`; those that are absent have the value None. Nothing given reads as an empty object."""
        entries = self.entries()
        for key in entries:
            if key not in allowed:
                Field(None, f"{self.place}.{key}" if self.place else key, self.owner).fail("unknown field", ", ".join(allowed))
        return {key: self.child(key, entries.get(key)) for key in allowed}

    def entries(self) -> Mapping[str, object]:
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping) or not all(isinstance(key, str) for key in self.value):
            self.fail(f"expected an object, not {_show(self.value)}")
        return self.value

    def child(self, key: str, value: object) -> Field:
        return Field(value, f"{self.place}.{key}" if self.place else key, self.owner)

    def items(self, most: int) -> Iterator[Field]:
        """The elements of a list of at most `most`; nothing given reads as an empty list."""
        if self.value is None:
            return
        if not isinstance(self.value, list | tuple):
            self.fail(f"expected a list, not {_show(self.value)}")
        if len(self.value) > most:
            self.fail(f"{len(self.value)} elements", f"at most {most}")
        for index, value in enumerate(self.value):
            yield Field(value, f"{self.place}[{index}]", self.owner)

    def text(self, default: str | None = None) -> str:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            self.fail(f"expected a text, not {_show(self.value)}")
        if len(self.value) > MAX_TEXT:
            self.fail(f"text of {len(self.value)} characters", f"at most {MAX_TEXT}")
        return self.value

    def claim(self, default: bool) -> bool:
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            self.fail(f"{_show(self.value)} is not a boolean", "true, false")
        return self.value

    def number(self, default: int, least: int, most: int) -> int:
        if self.value is None:
            return default
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not least <= self.value <= most:
            self.fail(f"{_show(self.value)} is not a number allowed here", f"{least} to {most}")
        return self.value

    def one_of(self, choices: Mapping[str, E], default: E | None = None) -> E:
        if self.value is None and default is not None:
            return default
        if isinstance(self.value, bool):
            self.fail(f"{_show(self.value)}: YAML reads the bare words on and off as booleans, so write them in quotes", ", ".join(choices))
        if not isinstance(self.value, str) or self.value not in choices:
            self.fail(f"{_show(self.value)} is not known", ", ".join(choices))
        return choices[self.value]

    def duration(self, default: float, least: float = 0.0) -> float:
        """Seconds, from `10m`, `1h30m` (as Kubernetes and Go write them) or `7d`."""
        if self.value is None:
            return default
        seconds = parse_duration(self.value) if isinstance(self.value, str) else None
        if seconds is None or not least <= seconds <= MAX_DURATION_S:
            self.fail(f"{_show(self.value)} is not a duration allowed here", f'"30s", "10m", "1h30m", "7d"; at least {least:g}s')
        return seconds

    def moment(self) -> float | None:
        """Unix seconds, from a date (its first moment, UTC) or an RFC 3339 time."""
        value = self.value
        if value is None:
            return None
        try:
            # A YAML parser makes date and datetime of what JSON leaves a text.
            parsed = datetime.datetime.fromisoformat(value.isoformat() if isinstance(value, datetime.date) else self.text())
        except ValueError:
            self.fail(f"{_show(value)} is not a date", "2027-01-01 or 2027-01-01T12:00:00Z")
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


def parse_duration(text: str) -> float | None:
    """Seconds; None if `text` is no duration. The units must become smaller: `1h30m`, not `30m1h`."""
    position, seconds, last = 0, 0.0, float("inf")
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or _UNITS[part[2]] >= last:
            return None
        last = _UNITS[part[2]]
        seconds += float(part[1]) * last
        position = part.end()
    return seconds if text else None


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
