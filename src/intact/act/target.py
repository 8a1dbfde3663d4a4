"""Which revision to go back to. Pure.

In: a Deployment's revisions and what is remembered of them. Out: one revision, or the reason why there is none. Never looks further back
than the wish allows: `LastKnownGood` is the newest earlier revision that was seen intact for the soak time; `Previous` is the one before.
"""

from __future__ import annotations

from intact.model.policy import RollbackTo
from intact.model.revision import RevisionRecord

from .ports import DeploymentState, RevisionState


def choose_target(
    to: RollbackTo,
    deployment: DeploymentState,
    current: RevisionState,
    records: tuple[RevisionRecord, ...],
    *,
    soak_s: float,
) -> tuple[RevisionState, RevisionRecord | None] | str:
    """The target and its record, or why there is none."""
    name = f"Deployment {deployment.namespace}/{deployment.name}"
    by_uid = {r.uid: r for r in records}
    earlier = sorted((r for r in deployment.revisions if r.number < current.number), key=lambda r: -r.number)
    if not earlier:
        return f"{name} has no earlier revision (revisionHistoryLimit keeps them)"
    match to:
        case RollbackTo.PREVIOUS:
            return earlier[0], by_uid.get(earlier[0].uid)
        case RollbackTo.LAST_KNOWN_GOOD:
            for revision in earlier:
                record = by_uid.get(revision.uid)
                if record is not None and record.soaked(soak_s):
                    return revision, record
            return f"none of the {len(earlier)} earlier revisions of {name} was seen intact for {soak_s:.0f} s: {_seen(earlier, by_uid)}"


def _seen(earlier: list[RevisionState], by_uid: dict[str, RevisionRecord]) -> str:
    told = []
    for revision in earlier[:5]:
        record = by_uid.get(revision.uid)
        if record is None:
            told.append(f"{revision.name} never seen running")
        elif record.intact_since is None or record.intact_until is None:
            told.append(f"{revision.name} {'drifted' if record.drifted_at else 'never seen intact'}")
        else:
            told.append(f"{revision.name} {record.intact_until - record.intact_since:.0f} s")
    return ", ".join(told)
