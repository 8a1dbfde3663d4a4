"""Which entries a rule would speak for, before anything is known but their names and metadata.

In: the baseline, where the container's configuration mounts, and what the plan raises. Out: a claim about one entry at a time, for
whoever must choose what to keep and what to read. Never reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from intact.model.entry import Entry
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline
from intact.model.observation import Reading, Scope

from . import places
from .raised import Raised
from .rules import Judge

NOTHING_RAISED = Raised()


def speak_for(baseline: Baseline, targets: Iterable[bytes], raised: Raised = NOTHING_RAISED) -> Callable[[Entry], bool]:
    """Whether a rule would speak for an entry that the image does not have, if it held code. Costs nothing until it is asked."""
    ask = _Ask(baseline, targets, raised)
    return lambda entry: ask.speaks(entry, None, is_code=True)


def choose_reading(
    baseline: Baseline, targets: Iterable[bytes], raised: Raised = NOTHING_RAISED
) -> Callable[[Entry, Entry | None], Reading]:
    """How much to read of a file that has not the size of the image's file (the second argument), or that the image has not: what people
    are told of is read whole, and so is what is called code, since it may be run; what would be told of if it were code, by its first
    bytes; data, which stock services write by the gigabyte, not at all."""
    ask = _Ask(baseline, targets, raised)

    def choose(entry: Entry, expected: Entry | None) -> Reading:
        if places.is_code_like(entry):
            return Reading.WHOLE
        if not ask.speaks(entry, expected, is_code=True):  # then of data neither: most of what changes is asked about once
            return Reading.NOTHING
        return Reading.WHOLE if ask.speaks(entry, expected, is_code=False) else Reading.HEAD

    return choose


@dataclass(slots=True)
class _Ask:
    """The rules, asked about one entry at a time."""

    baseline: Baseline
    targets: Iterable[bytes]
    raised: Raised
    _judge: Judge | None = None

    def speaks(self, entry: Entry, expected: Entry | None, *, is_code: bool) -> bool:
        if self._judge is None:
            self._judge = Judge(self.baseline, Scope.DRIFT, self.targets, raised=self.raised)
        self._judge.runnable = frozenset({entry.path} if is_code else ())
        change = Change.ADDED if expected is None else Change.MODIFIED
        return self._judge.consider(Difference(path=entry.path, change=change, expected=expected, actual=entry)).level is not None
