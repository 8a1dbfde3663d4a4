"""Which revision a rollback goes back to, or why to none.

Revision records in, one record or a reason out. A target's images are known by digest, for the template's own names may mean something
else by now. Never looks at the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from intact.model.facts import NoTarget
from intact.model.policy import RollbackTo
from intact.model.revision import RevisionRecord

_PINNED = re.compile(r"[^@\s]+@sha(?:256|512):[0-9a-f]{64,128}")


def choose_target(
    records: Iterable[RevisionRecord],
    current: str,
    to: RollbackTo,
    soak_s: float,
    is_trusted: Callable[[RevisionRecord], bool] = lambda record: True,
) -> RevisionRecord | NoTarget:
    """The revision of `records` to go back to from the one whose hash is `current`. `is_trusted`: whether all its images are signed as the
    policy wants it.

    LastKnownGood: the newest other one that was seen intact for `soak_s` seconds without a break, and not drifted since.
    Previous: the one before the current, whatever is known of it but its digests.
    """
    records = tuple(records)
    others = sorted((r for r in records if r.hash != current), key=lambda r: (-r.number, r.name))
    if not others:
        return NoTarget(reason="no other revision was ever seen to run")
    known, others = len(others), [r for r in others if is_trusted(r)]
    if not others:
        return NoTarget(reason=f"of {known} other revisions no one's images are known to be signed as the policy requires")
    match to:
        case RollbackTo.PREVIOUS:
            here = max((r.number for r in records if r.hash == current), default=None)
            candidates = [r for r in others if here is None or r.number < here][:1]
            if not candidates:
                return NoTarget(reason="no revision before the current one was seen to run")
        case RollbackTo.LAST_KNOWN_GOOD:
            candidates = [r for r in others if is_known_good(r, soak_s)]
            if not candidates:
                return NoTarget(reason=f"none of {len(others)} other revisions was seen intact for {soak_s:g}s")
    pinned = next((r for r in candidates if is_pinned(r)), None)
    return pinned or NoTarget(reason=f"the digests of the images of {candidates[0].name} are not known")


def is_known_good(record: RevisionRecord, soak_s: float) -> bool:
    """Whether the record was intact for long enough and never drifted after that began."""
    drifted_since = record.drifted_at is not None and record.intact_since is not None and record.drifted_at >= record.intact_since
    return record.soaked(soak_s) and not drifted_since


def is_pinned(record: RevisionRecord) -> bool:
    """Whether every container's image is known by digest."""
    return bool(record.images) and all(_PINNED.fullmatch(image) for _, image in record.images)
