"""How well a revision is known to be good, learnt from every look at its pods. Pure.

In: a revision's record and one look. Out: the record as it should be kept; the same object if nothing changed.
"""

from __future__ import annotations

from dataclasses import replace

from intact.model.finding import State
from intact.model.revision import RevisionRecord


def note_look(record: RevisionRecord, state: State, *, clean: bool, at: float) -> RevisionRecord:
    """`record` after a look that began at `at` (Unix seconds). `clean`: intact, or different only as the policy expects.

    A look that could not look ends the unbroken time, which still counts; one that found drift undoes it. Looks older than the last one
    counted change nothing.
    """
    if clean:
        if at <= max(record.intact_until or 0.0, record.drifted_at or 0.0):
            return record
        return replace(record, intact_since=record.intact_since or at, intact_until=at)
    if state is State.UNOBSERVED:
        return replace(record, intact_since=None, intact_until=None, longest_s=record.intact_s)
    return replace(record, intact_since=None, intact_until=None, longest_s=0.0, drifted_at=max(at, record.drifted_at or 0.0))
