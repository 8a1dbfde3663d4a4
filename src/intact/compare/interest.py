"""Which added entries a rule would speak for, before anything is known but their names and metadata.

In: the baseline and where the container's configuration mounts. Out: a claim about one entry at a time, for whoever must choose what to
keep. Never reads a file: what an entry holds is taken to be code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from intact.model.entry import Entry
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline
from intact.model.observation import Scope

from .rules import Judge, resolve_stubs


def speak_for(baseline: Baseline, targets: Iterable[bytes]) -> Callable[[Entry], bool]:
    """Whether a rule would speak for an entry that the image does not have. Costs nothing until it is asked."""
    judges: list[Judge] = []

    def speaks(entry: Entry) -> bool:
        if not judges:
            judges.append(Judge(baseline, Scope.DRIFT, resolve_stubs(targets, baseline.find)))
        judges[0].runnable = frozenset({entry.path})
        return judges[0].consider(Difference(path=entry.path, change=Change.ADDED, expected=None, actual=entry)).level is not None

    return speaks
