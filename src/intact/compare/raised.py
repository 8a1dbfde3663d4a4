"""What the plan tells besides what the default rules tell: levels for differences that those only count. Pure.

In: planned levels, a moment, differences. Out: the level of each, or None where it stays counted. The last planned level that matches
decides, so that what is expected can be taken back. Never makes a level of what is no difference: what the runtime made, and what
provably derives from the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from intact.model.finding import Change, Level
from intact.model.patterns import Patterns
from intact.model.seam import PlannedLevel

NEVER_RAISED = frozenset({"runtime-stub", "derived-from-image"})
"""Rules that say that something is no difference at all."""


@dataclass(frozen=True, slots=True)
class Raised:
    """The planned levels at one moment, in Unix seconds."""

    levels: Sequence[PlannedLevel] = ()
    at: float = 0.0

    def find(self, path: bytes, change: Change, *, directory: bool = False) -> Level | None:
        """The level of a difference that a default rule counts; None if it stays counted."""
        for one in reversed(self.levels):
            is_meant = (not one.changes or change in one.changes) and (one.until is None or self.at < one.until)
            if is_meant and _compile(one.paths).match(path, directory=directory):
                return one.level if one.level > Level.INFO else None
        return None


@lru_cache(maxsize=1024)
def _compile(paths: tuple[str, ...]) -> Patterns:
    return Patterns(paths)
