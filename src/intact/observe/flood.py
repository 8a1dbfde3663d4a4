"""Who rings so much that its single rings are not worth following: pure counting, with time as an argument.

In: each event's watched directory and time. Out: what to make of it, and which directories flood now. Never drops anything by itself, never
reads a clock. Not for use by two threads at once.

1. More than `FLOOD_PER_S` events within one second make a directory flood.
2. It floods until `QUIET_S` have passed without a second of more than `CALM_PER_S`.
3. While it floods, its events count, and it rings as a whole once a second; once more when the flood is over.
4. Meanwhile the first `RARE_EACH` events of a second in each place below it are worth a look of their own, `RARE_ALL` in all: a flood in
   some places puts off little of what happens in others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

FLOOD_PER_S = 5000
CALM_PER_S = 500
QUIET_S = 10.0
RARE_EACH = 2
RARE_ALL = 200
_WINDOW_S = 1.0


class Ring(Enum):
    """What one event is worth."""

    PATH = "look where it was"
    WHOLE = "look everywhere"
    NOTHING = "the last WHOLE stands for it"


@dataclass(slots=True)
class _Count:
    began: float
    events: int = 0
    floods_until: float = 0.0
    rung_at: float = 0.0
    rare: dict[bytes, int] = field(default_factory=dict)
    rare_left: int = RARE_ALL


@dataclass(slots=True)
class FloodGauge:
    """`flood_per_s` and `calm_per_s` are events of one directory."""

    flood_per_s: int = FLOOD_PER_S
    calm_per_s: int = CALM_PER_S
    quiet_s: float = QUIET_S
    _counts: dict[bytes, _Count] = field(default_factory=dict)
    _flooding: set[bytes] = field(default_factory=set)

    def count(self, directory: bytes, now: float) -> Ring:
        """One event below `directory`."""
        count = self._counts.get(directory)
        if count is None:
            count = self._counts[directory] = _Count(began=now)
        if now - count.began >= _WINDOW_S:
            count.began, count.events, count.rare_left = now, 0, RARE_ALL
            count.rare.clear()
        count.events += 1
        is_flooding = directory in self._flooding
        if count.events > (self.calm_per_s if is_flooding else self.flood_per_s):  # 1, 2
            count.floods_until = now + self.quiet_s
            self._flooding.add(directory)
        elif not is_flooding:
            return Ring.PATH
        if now - count.rung_at < _WINDOW_S:  # 3
            return Ring.NOTHING
        count.rung_at = now
        return Ring.WHOLE

    def is_rare(self, directory: bytes, place: bytes) -> bool:
        """4. Whether the event that was just counted below the flooding `directory`, in `place`, is worth a look of its own."""
        count = self._counts.get(directory)
        if count is None or count.rare_left < 1:
            return False
        before = count.rare.get(place, 0)
        if before >= RARE_EACH:
            return False
        count.rare[place] = before + 1
        count.rare_left -= 1
        return True

    def settle(self, now: float) -> frozenset[bytes]:
        """2. The directories whose flood is over; each is named once."""
        if not self._flooding:
            return frozenset()
        over = frozenset(directory for directory in self._flooding if self._counts[directory].floods_until <= now)
        self._flooding -= over
        for directory in over:
            del self._counts[directory]
        return over

    @property
    def flooding(self) -> frozenset[bytes]:
        return frozenset(self._flooding)

    def forget(self, directories: Iterable[bytes]) -> None:
        for directory in directories:
            self._counts.pop(directory, None)
            self._flooding.discard(directory)
