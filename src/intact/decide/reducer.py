"""The reducer: an incident and news in, the incident and decisions out. Pure: the same input always gives the same answer.

Called for every batch of findings, and again now and then without any while an incident is open, so that what a cooldown or a missing fact
held back is reconsidered. Told the same twice, it changes nothing.

1. Drop what the policy expects, set the levels, count every finding once by its id; told again, its trust grade is the latest. What the
   controller itself holds against the workload (`facts.matters`) counts as it stands now.
2. Tell the cause.
3. Alert and act (`respond`), note what was decided.

It never carries anything out, never forgets that something happened because a list is full (`count`, `level` and `affected` outlive
`seen`), and never opens an incident for Info alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from intact.model.entry import Kind, describe
from intact.model.facts import WorkloadFacts
from intact.model.finding import Finding, Level, describe_actual
from intact.model.incident import Affected, Decision, Incident, IncidentState, Matter, Outcome, Phase, Reported, Seen, Taken
from intact.model.layer import Grade
from intact.model.policy import ActionKind, Cause, Mode, Policy

from .cause import explain
from .expect import assess
from .guard import PENDING, is_intact_since
from .respond import act, alert, name_object

MAX_SEEN = 256
MAX_COUNTED = 4096
MAX_AFFECTED = 512
MAX_TAKEN = 64
MAX_MATTERS = 20


@dataclass(frozen=True, slots=True)
class _News:
    """A finding that counts, at the level the policy gives it."""

    reported: Reported
    level: Level

    @property
    def short_id(self) -> str:
        return self.reported.finding.id[:16]

    @property
    def rank(self) -> tuple[float, Level, Grade]:
        """Which of several reports of one finding is believed: the latest, then the gravest."""
        return self.reported.finding.observed_at, self.level, self.reported.finding.grade


def reduce(
    incident: Incident | None, reported: Sequence[Reported], policy: Policy, facts: WorkloadFacts, now: float
) -> tuple[Incident | None, tuple[Decision, ...]]:
    """The incident after `reported`, and what is to be done. `now` in Unix seconds.

    `incident` is the workload's last one: a resolved one stays as it is, and news opens another. None comes back only where nothing is
    wrong and nothing was.
    """
    if policy.mode is Mode.OFF:
        return incident, ()
    news = _take_news(reported, policy, now)  # 1
    if incident is None or incident.state is IncidentState.RESOLVED:
        news = [one for one in news if incident is None or _is_after(one, incident)]
        if all(one.level is Level.INFO for one in news) and not facts.matters:
            return incident, ()
        incident = _open(news, facts)
    incident = _hold(_count(incident, news), facts.matters)
    incident = replace(incident, policy=str(policy))
    taken = (*facts.actions, *incident.taken)
    told = explain(  # 2
        incident.seen,
        facts.recent,
        taken,
        facts.unobserved,
        matters=incident.matters,
        matter_count=incident.matter_count,
        doubted=facts.doubted,
    )
    incident = replace(incident, cause=told.cause, explanation=told.why)
    decisions: list[Decision] = []  # 3
    due = alert(incident, now)
    if due is not None:
        decisions.append(due)
        causes = (*incident.alerted_causes, *({incident.cause} - set(incident.alerted_causes)))
        incident = replace(incident, alerted_level=incident.level, alerted_causes=causes)
    actions = act(incident, policy, facts, now)
    decisions.extend(actions)
    incident = replace(incident, taken=_note(incident.taken, actions))
    return replace(incident, state=_state(incident)), tuple(decisions)


def resolve(incident: Incident, facts: WorkloadFacts, now: float) -> Incident:
    """`incident`, Resolved if it is over at `now`: every pod in which something was found is gone or was observed intact after the last
    finding in it, no action is on its way, and the controller itself holds nothing against it. Where more pods were affected than are
    remembered, all pods of the workload must be."""
    if incident.state is IncidentState.RESOLVED or _is_acting(incident) or incident.last_seen >= now or facts.matters:
        return incident
    last = {one.pod_uid: one.last_seen for one in incident.affected}
    if len(last) >= MAX_AFFECTED:
        last = {pod.uid: incident.last_seen for pod in facts.pods}
    over = all(is_intact_since(pod, last[pod.uid]) for pod in facts.pods if pod.uid in last)
    return replace(incident, state=IncidentState.RESOLVED) if over else incident


def record_outcome(incident: Incident, outcome: Outcome) -> Incident:
    """`incident` with what came of one of its decisions."""
    taken = tuple(replace(one, state=outcome.phase.value) if one.name == outcome.decision.name else one for one in incident.taken)
    changed = replace(incident, taken=taken)
    return changed if incident.state is IncidentState.RESOLVED else replace(changed, state=_state(changed))


def sign(finding: Finding) -> str:
    """What makes the same drift in another container the same; empty for a file whose content nobody read."""
    difference = finding.difference
    actual = difference.actual
    if actual is not None and actual.kind is Kind.FILE and actual.digest is None:
        return ""
    text = repr((difference.path, difference.change.value, describe_actual(difference), finding.scope.value))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _take_news(reported: Sequence[Reported], policy: Policy, now: float) -> list[_News]:
    """1. What counts, the latest report of each finding, in order of id: the order in which a batch came does not matter."""
    latest: dict[str, _News] = {}
    for one in reported:
        level = assess(one.finding, policy, now)
        if level is None:
            continue
        fresh = _News(one, level)
        known = latest.get(one.finding.id)
        if known is None or fresh.rank > known.rank:
            latest[one.finding.id] = fresh
    return [latest[key] for key in sorted(latest)]


def _is_after(news: _News, incident: Incident) -> bool:
    """Whether `news` tells of drift that `incident`, which is over, did not already cover."""
    finding, pod_uid = news.reported.finding, news.reported.pod.uid
    last = next((one.last_seen for one in incident.affected if one.pod_uid == pod_uid), incident.first_seen)
    return finding.observed_at > last or (news.short_id not in incident.counted and incident.count < MAX_COUNTED)


def _open(news: Sequence[_News], facts: WorkloadFacts) -> Incident:
    first = min([one.reported.finding.observed_at for one in news] + [matter.at for matter in facts.matters])
    return Incident(
        id=name_object(
            facts.workload, "", repr(first), min([one.reported.finding.id for one in news] or [matter.key for matter in facts.matters])
        ),
        workload=facts.workload,
        state=IncidentState.OPEN,
        cause=Cause.UNKNOWN,
        level=Level.INFO,
        first_seen=first,
        last_seen=first,
    )


def _count(incident: Incident, news: Sequence[_News]) -> Incident:
    if not news:
        return incident
    counted = set(incident.counted)
    graded = {one.reported.finding.id: one.reported.finding.grade for one in news}
    seen = [replace(one, grade=graded.get(one.finding_id, one.grade)) for one in incident.seen]
    for one in news:
        if one.short_id in counted or len(counted) >= MAX_COUNTED:
            continue
        counted.add(one.short_id)
        seen.append(_remember(one))
    times = [one.reported.finding.observed_at for one in news]
    return replace(
        incident,
        level=max(incident.level, *(one.level for one in news)),
        first_seen=min(incident.first_seen, *times),
        last_seen=max(incident.last_seen, *times),
        count=len(counted),
        seen=_keep(seen),
        counted=tuple(sorted(counted)),
        affected=_affect(incident.affected, news),
    )


def _hold(incident: Incident, matters: Sequence[Matter]) -> Incident:
    """`incident` with the matters that stand; when none does any more, with those that stood last."""
    if not matters:
        return incident
    ranked = sorted(matters, key=lambda m: (-m.level, m.at, m.key))
    return replace(
        incident,
        level=max(incident.level, ranked[0].level),
        first_seen=min(incident.first_seen, *(m.at for m in ranked)),
        last_seen=max(incident.last_seen, *(m.at for m in ranked)),
        matters=tuple(ranked[:MAX_MATTERS]),
        matter_count=len(ranked),
    )


def _remember(news: _News) -> Seen:
    finding, pod = news.reported.finding, news.reported.pod
    return Seen(
        finding_id=finding.id,
        path=finding.difference.path,
        change=finding.difference.change.value,
        level=news.level,
        pod_uid=pod.uid,
        pod=pod.name,
        node=pod.node,
        revision=pod.revision,
        at=finding.observed_at,
        actual=describe_actual(finding.difference),
        expected=describe(finding.difference.expected),
        rule=finding.rule,
        scope=finding.scope,
        grade=finding.grade,
        signature=sign(finding),
        started_at=finding.container.started_at,
        image_key=str(finding.container.image_key or ""),
        baseline_root=str(finding.baseline_root),
    )


def _keep(seen: list[Seen]) -> tuple[Seen, ...]:
    """The gravest findings; of equals each pod's first, then each pod's second, …, so that no pod crowds out the others."""
    seen = sorted(seen, key=lambda s: (-s.level, s.at, s.finding_id))
    places: Counter[tuple[Level, str]] = Counter()
    ranked: list[tuple[int, int, Seen]] = []
    for one in seen:
        ranked.append((-one.level, places[one.level, one.pod_uid], one))
        places[one.level, one.pod_uid] += 1
    ranked.sort(key=lambda r: (r[0], r[1], r[2].at, r[2].finding_id))
    return tuple(one for _, _, one in ranked[:MAX_SEEN])


def _affect(affected: Sequence[Affected], news: Iterable[_News]) -> tuple[Affected, ...]:
    pods = {one.pod_uid: one for one in affected}
    for one in news:
        pod, at = one.reported.pod, one.reported.finding.observed_at
        known = pods.get(pod.uid)
        if known is not None:
            pods[pod.uid] = replace(known, last_seen=max(known.last_seen, at))
        elif len(pods) < MAX_AFFECTED:
            pods[pod.uid] = Affected(pod_uid=pod.uid, pod=pod.name, node=pod.node, revision=pod.revision, last_seen=at)
    return tuple(pods[uid] for uid in sorted(pods))


def _note(taken: Sequence[Taken], decisions: Iterable[Decision]) -> tuple[Taken, ...]:
    """The actions remembered: beyond the bound refusals go first, then the oldest."""
    added = [
        Taken(
            name=one.name,
            action=one.action,
            at=one.at,
            revision=one.target,
            state=Phase.REFUSED.value if one.refused else Phase.PROPOSED.value,
            pod_uid=one.pod.uid if one.pod else "",
            refused=one.refused,
        )
        for one in decisions
    ]
    every = [*taken, *added]
    if len(every) > MAX_TAKEN:
        kept = {one.name for one in sorted(every, key=lambda t: (bool(t.refused), -t.at, t.name))[:MAX_TAKEN]}
        every = [one for one in every if one.name in kept]
    return tuple(every)


def _is_acting(incident: Incident) -> bool:
    return any(one.state in PENDING and one.action is not ActionKind.ALERT for one in incident.taken)


def _state(incident: Incident) -> IncidentState:
    return IncidentState.ACTING if _is_acting(incident) else IncidentState.OPEN
