"""What is worth telling of an incident, as alerts. Pure.

In: an incident before and after a step, its findings, a decision or an outcome. Out: one alert, or None where nothing new would be said:
more files of the same incident are not news, a higher level, another cause, an action and the end are. Ids are made from what is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from intact.model.alert import Alert, AlertKind, AlertPath
from intact.model.entry import Entry, display_path
from intact.model.finding import Change, Level, Verdict, describe_actual
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, Reported
from intact.model.policy import ActionKind

MAX_PATHS = 20
MAX_NAMES = 50
MAX_BASELINES = 5
MAX_TEXT = 1000
FORGED_EVERY_S = 3600.0

_TOLD_PHASES = {Phase.SUCCEEDED, Phase.VERIFIED, Phase.FAILED, Phase.REFUSED}


def alert_for_incident(before: Incident | None, after: Incident, reported: Sequence[Reported], *, now: float) -> Alert | None:
    """Tells that an incident opened (`before` None), rose, found its cause, or was resolved. `reported` are its findings."""
    if before is None:
        return _make(AlertKind.OPENED, ("opened",), after, reported, now)
    if after.state is IncidentState.RESOLVED and before.state is not IncidentState.RESOLVED:
        return _make(AlertKind.RESOLVED, ("resolved",), after, reported, now)
    if after.level > before.level or after.cause is not before.cause:
        return _make(AlertKind.RAISED, ("raised", after.level.title, after.cause.value), after, reported, now)
    return None


def alert_for_decision(incident: Incident, decision: Decision, reported: Sequence[Reported], *, now: float) -> Alert | None:
    """Tells what is about to be done, or what a guard rail forbids. None for the decision to alert: the incident itself has said that."""
    if decision.action is ActionKind.ALERT:
        return None
    phase = Phase.REFUSED if decision.refused else Phase.PROPOSED
    return _make(AlertKind.ACTION, ("decision", decision.name, phase.value), incident, reported, now, decision=decision, phase=phase)


def alert_for_outcome(incident: Incident, outcome: Outcome, reported: Sequence[Reported], *, now: float) -> Alert | None:
    """Tells what came of an action, once it is done, proven, failed or refused."""
    if outcome.phase not in _TOLD_PHASES or outcome.decision.action is ActionKind.ALERT:
        return None
    key = ("decision" if outcome.phase is Phase.REFUSED else "outcome", outcome.decision.name, outcome.phase.value)
    return _make(
        AlertKind.ACTION, key, incident, reported, now, decision=outcome.decision, phase=outcome.phase, message=outcome.message
    )  # fmt: skip


def alert_for_forged(node: str, claim: str, reason: str, *, now: float) -> Alert:
    """Tells that `node` reported what is not its own to say; `claim` is from its report. One alert an hour and node, whatever it claims:
    every forged report is on record, and none may drown other alerts."""
    return Alert(
        id=_make_id("forged", node, str(int(now // FORGED_EVERY_S))),
        kind=AlertKind.FORGED,
        at=now,
        level=Level.CRITICAL,
        summary=f"node {_plain(node)} reported on {_plain(claim)}, which is not its own: {_plain(reason)}"[:MAX_TEXT],
        nodes=(_plain(node),),
        reason=_plain(reason),
        count=1,
    )


def alert_for_blind(verdict: Verdict, *, now: float) -> Alert:
    """Tells that nothing of a container that was seen before can be looked at now. One alert an hour for each container."""
    container = verdict.container
    where = f"{container.pod.namespace}/{container.pod.name}/{container.name}" if container.pod else container.name
    reason = verdict.unobserved[0].reason if verdict.unobserved else ""
    return Alert(
        id=_make_id("blind", container.id, str(int(now // 3600))),
        kind=AlertKind.BLIND,
        at=now,
        level=Level.HIGH,
        summary=f"container {_plain(where)} on node {_plain(container.node)} cannot be looked at any more: {_plain(reason)}",
        nodes=(container.node,),
        count=1,
    )


def alert_for_silence(node: str, heard_at: float, *, now: float) -> Alert:
    """Tells that a node reports no more. One alert for each silence."""
    return Alert(
        id=_make_id("silence", node, repr(heard_at)),
        kind=AlertKind.BLIND,
        at=now,
        level=Level.HIGH,
        summary=f"node {_plain(node)} has reported nothing for {now - heard_at:.0f} s: nobody watches its containers",
        nodes=(node,),
        count=1,
    )


def alert_for_suppressed(sink: str, count: int, level: Level, *, first_seq: int, now: float) -> Alert:
    """Tells how many alerts a rate limit kept back, and the gravest level among them."""
    noun = "alert was" if count == 1 else "alerts were"
    return Alert(
        id=_make_id("suppressed", sink, str(first_seq), str(count)),
        kind=AlertKind.SUPPRESSED,
        at=now,
        level=level,
        summary=f"{count} {noun} suppressed by the rate limit of {_plain(sink)}; the incidents are on record",
        count=count,
        suppressed=count,
    )


def _make(
    kind: AlertKind,
    key: tuple[str, ...],
    incident: Incident,
    reported: Sequence[Reported],
    now: float,
    *,
    decision: Decision | None = None,
    phase: Phase | None = None,
    message: str = "",
) -> Alert:
    paths = _choose_paths(reported)
    reason = message or ((decision.refused or decision.reason) if decision else "")
    return Alert(
        id=_make_id(incident.id, *key),
        kind=kind,
        at=now,
        level=incident.level,
        summary=_summarise(kind, incident, paths, decision, phase, reason),
        incident_id=incident.id,
        workload=incident.workload,
        cause=incident.cause.value,
        explanation=_plain(incident.explanation),
        policy=_plain(incident.policy or (decision.policy if decision else "")),
        first_seen=incident.first_seen,
        count=incident.count,
        pods=incident.pods[:MAX_NAMES],
        nodes=incident.nodes[:MAX_NAMES],
        paths=paths,
        paths_total=incident.count,
        action=decision.action.title if decision else "",
        phase=phase.value if phase else "",
        reason=_plain(reason),
        grade=incident.against[0].grade.title if incident.against else "",
        baselines=tuple(dict.fromkeys(_plain(one.key) for one in incident.against if one.key))[:MAX_BASELINES],
    )


def _summarise(
    kind: AlertKind, incident: Incident, paths: Sequence[AlertPath], decision: Decision | None, phase: Phase | None, reason: str
) -> str:
    where = _plain(str(incident.workload))
    match kind:
        case AlertKind.ACTION if decision is not None and phase is not None:
            text = f"{decision.action.title} of {where}: {phase.value}" + (f": {_plain(reason)}" if reason else "")
        case AlertKind.RESOLVED if incident.matters and not incident.count:
            text = f"{where}: no longer so: {_plain(incident.explanation)}"
        case _ if incident.matters and not incident.count:
            text = f"{where}: {_plain(incident.explanation)}"
        case AlertKind.RESOLVED:
            text = f"{where} is intact again ({incident.count} {_noun(incident.count)} in {len(incident.pods)} pods)"
        case AlertKind.RAISED:
            text = f"{where}: now {incident.level.title}, cause {incident.cause.value}, {incident.count} {_noun(incident.count)}"
        case _:
            text = f"{where} differs from its image: {incident.count} {_noun(incident.count)}"
    if paths and kind is not AlertKind.RESOLVED:
        first = paths[0]
        process = f" by {_plain(first.process)}" if first.process else ""
        text += (
            f"; {first.change} {display_path(first.path, 256)} in {_plain(first.pod or first.container)} on {_plain(first.node)}{process}"
        )
    return text[:MAX_TEXT]


def _choose_paths(reported: Sequence[Reported]) -> tuple[AlertPath, ...]:
    """The gravest first; changed and removed image files before added ones; each path once."""
    ranked = sorted(
        reported,
        key=lambda one: (
            -one.finding.level,
            one.finding.difference.change is Change.ADDED,
            one.finding.difference.path,
            one.finding.observed_at,
        ),
    )
    chosen: dict[bytes, AlertPath] = {}
    for one in ranked:
        finding, difference = one.finding, one.finding.difference
        if len(chosen) == MAX_PATHS:
            break
        chosen.setdefault(
            difference.path,
            AlertPath(
                path=difference.path[:4096],
                change=difference.change.value,
                level=finding.level,
                expected=describe_entry(difference.expected),
                actual=describe_actual(difference) if difference.actual is None else describe_entry(difference.actual),
                pod=_plain(f"{one.pod.namespace}/{one.pod.name}" if one.pod.namespace else one.pod.name),
                node=_plain(finding.container.node),
                container=_plain(finding.container.name),
                process=_plain(finding.process),
                at=finding.observed_at,
            ),
        )
    return tuple(chosen.values())


def describe_entry(entry: Entry | None) -> str:
    """`sha256:… 0644 0:0`, `directory 0755 0:0`, `symlink -> /etc/x`, or `-` where there is nothing."""
    if entry is None:
        return "-"
    what = str(entry.digest) if entry.digest is not None else entry.kind.value
    target = f" -> {display_path(entry.target, 256)}" if entry.target else ""
    return f"{what} {entry.mode:04o} {entry.uid}:{entry.gid}{target}"


def _plain(text: str) -> str:
    """One line without control characters, bounded: what others wrote, fit to be shown to people."""
    return display_path(text.encode("utf-8", "backslashreplace"), MAX_TEXT)


def _noun(count: int) -> str:
    return "finding" if count == 1 else "findings"


def _make_id(*parts: str) -> str:
    return hashlib.sha256(repr(("alert v1", *parts)).encode()).hexdigest()[:32]
