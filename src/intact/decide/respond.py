"""What to do about an incident now: alerts, actions, and actions that are refused with the reason.

An incident, its policy and the facts in; decisions out, none of them made twice. In Observe, only alerts.

1. Alert when the incident is new, when its level rises, and when its cause turns out to be the revision or unknown.
2. While a rollback is on its way, nothing else is done.
3. The actions of all matching rules, the strongest first.
4. What a guard rail forbids is refused and told once; if it forbids only this action, the next weaker one is tried.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from intact.model.facts import NoTarget, PodState, WorkloadFacts
from intact.model.finding import Level
from intact.model.incident import Decision, Incident, Phase, PodFacts, Workload
from intact.model.policy import ActionKind, Cause, Condition, Mode, Policy, Response

from .guard import (
    PENDING,
    Situation,
    attempts,
    drifted_pods,
    find_target,
    history,
    refuse_any,
    refuse_restart,
    refuse_rollback,
)

DEFAULT_CURES = (
    Response(when=Condition(causes=(Cause.CONTAINER,), level=Level.MEDIUM), do=(ActionKind.ALERT, ActionKind.RESTART_POD)),
    Response(when=Condition(causes=(Cause.REVISION,), level=Level.MEDIUM), do=(ActionKind.ALERT, ActionKind.ROLL_BACK)),
)
"""What Enforce does where the policy has no `respond`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An action some rule asks for, and the level from which findings count for it."""

    action: ActionKind
    level: Level


def alert(incident: Incident, now: float) -> Decision | None:
    """1. The alert that is due, or None."""
    if incident.level < Level.LOW:
        return None
    is_new = incident.alerted_level is None
    is_graver = incident.alerted_level is not None and incident.level > incident.alerted_level
    turned = incident.cause not in incident.alerted_causes and incident.cause is not Cause.CONTAINER
    if not (is_new or is_graver or turned):
        return None
    return Decision(
        name=name_object(incident.workload, "alert", incident.id, incident.level.title, incident.cause.value),
        incident_id=incident.id,
        action=ActionKind.ALERT,
        workload=incident.workload,
        pod=None,
        reason=f"{incident.level.title}, cause {incident.cause.value}: {incident.explanation}",
        policy=incident.policy,
        at=now,
    )


def act(incident: Incident, policy: Policy, facts: WorkloadFacts, now: float) -> list[Decision]:
    """2 to 4. The actions that are due, and the refusals not told yet."""
    if policy.mode is not Mode.ENFORCE:
        return []
    if any(one.action is ActionKind.ROLL_BACK and one.state in PENDING for one in incident.taken):
        return []  # 2
    if incident.cause is Cause.IMAGE_TRUST:
        return _act_on_distrust(incident, policy, facts, now)
    decided: list[Decision] = []
    for wish in _wishes(incident, policy, facts, now):  # 3
        every = tuple(one for one in incident.seen if one.level >= wish.level)
        seen = tuple(one for one in every if one.grade >= policy.require) or every
        pods = drifted_pods(incident, facts, seen)
        if not pods:
            continue
        case = Situation(incident=incident, policy=policy, facts=facts, seen=seen, now=now)
        if wish.action is ActionKind.ROLL_BACK:
            refused = refuse_any(case)
            if refused:
                return decided if _is_under_way(incident, pods) else [*decided, *_refuse(case, wish.action, None, refused)]
            made = _roll_back(case)
        else:
            made = _restart(case, pods)
        decided.extend(made)
        if any(not one.refused for one in made):
            return decided
    return decided


def _act_on_distrust(incident: Incident, policy: Policy, facts: WorkloadFacts, now: float) -> list[Decision]:
    """3 and 4 where no file differs but the image itself is not trusted: RollBack by a rule that names the cause; nothing else cures it."""
    level = max((one.level for one in facts.matters if one.cause is Cause.IMAGE_TRUST), default=None)
    rules = [rule for rule in policy.respond or () if Cause.IMAGE_TRUST in rule.when.causes and ActionKind.ROLL_BACK in rule.do]
    if level is None or not any(rule.when.level <= level and rule.when.count <= 1 for rule in rules):
        return []
    case = Situation(incident=incident, policy=policy, facts=facts, seen=(), now=now)
    refused = refuse_any(case)
    return list(_refuse(case, ActionKind.ROLL_BACK, None, refused)) if refused else _roll_back(case)


def name_object(workload: Workload, what: str, *parts: str) -> str:
    """A name for a Kubernetes object (RFC 1123 label): readable in front, and the same for the same parts."""
    readable = re.sub(r"[^a-z0-9]+", "-", workload.name.lower()).strip("-")[:32].strip("-") or "workload"
    token = hashlib.sha256("\0".join([str(workload), workload.uid, what, *parts]).encode()).hexdigest()[:12]
    return f"{readable}-{what}-{token}" if what else f"{readable}-{token}"


def _wishes(incident: Incident, policy: Policy, facts: WorkloadFacts, now: float) -> list[Wish]:
    """The actions of all rules that match, the strongest first; of several rules with one action, the widest level."""
    rules = DEFAULT_CURES if policy.respond is None else policy.respond
    levels: dict[ActionKind, Level] = {}
    for rule in rules:
        if not _matches(rule.when, incident, facts, now):
            continue
        for action in rule.do:
            if action is not ActionKind.ALERT:
                levels[action] = min(rule.when.level, levels.get(action, rule.when.level))
    return [Wish(action, levels[action]) for action in sorted(levels, reverse=True)]


def _matches(when: Condition, incident: Incident, facts: WorkloadFacts, now: float) -> bool:
    if when.causes and incident.cause not in when.causes:
        return False
    here = [one for one in incident.seen if one.level >= when.level]
    if when.count <= 1:
        return bool(here)
    since = now - when.within_s
    counted = {one.finding_id for one in (*here, *facts.recent) if one.level >= when.level and one.at >= since}
    return bool(here) and len(counted) >= when.count


def _is_under_way(incident: Incident, pods: Iterable[PodState]) -> bool:
    """Whether every one of `pods` is already being replaced: nothing is refused to somebody who is being helped."""
    return all(any(one.state in PENDING for one in attempts(incident, ActionKind.RESTART_POD, pod.uid)) for pod in pods)


def _roll_back(case: Situation) -> list[Decision]:
    refused = refuse_rollback(case)
    if refused:
        return list(_refuse(case, ActionKind.ROLL_BACK, None, refused))
    target = find_target(case)
    chosen = "" if isinstance(target, NoTarget) else target.name
    return [_decide(case, ActionKind.ROLL_BACK, None, to=case.policy.guard.rollback_to.value, target=chosen)]


def _restart(case: Situation, pods: list[PodState]) -> list[Decision]:
    """One decision for each drifted pod that is not being replaced already, while readiness and budget last."""
    decided: list[Decision] = []
    begun = {pod.uid: {one.state for one in attempts(case.incident, ActionKind.RESTART_POD, pod.uid)} for pod in pods}
    gone = sum(pod.ready for pod in pods if begun[pod.uid] & PENDING)
    planned = sum(one.at == case.now for one in history(case.incident, case.facts))
    for pod in pods:
        if begun[pod.uid] & (PENDING | {Phase.VERIFIED.value}):
            continue
        refused = refuse_any(case, planned)
        if refused:
            decided.extend(_refuse(case, ActionKind.RESTART_POD, None, refused))
            return decided
        refused = refuse_restart(case, pod, gone)
        if refused:
            decided.extend(_refuse(case, ActionKind.RESTART_POD, pod, refused))
            continue
        decided.append(_decide(case, ActionKind.RESTART_POD, pod))
        planned += 1
        gone += pod.ready
    return decided


def _refuse(case: Situation, action: ActionKind, pod: PodState | None, reason: str) -> Iterator[Decision]:
    """The refusal, unless the same was told already."""
    earlier = attempts(case.incident, action, pod.uid if pod else "")
    if all(one.refused != reason for one in earlier):
        yield _decide(case, action, pod, refused=reason)


def _decide(
    case: Situation, action: ActionKind, pod: PodState | None, *, to: str = "", target: str = "", refused: str = ""
) -> Decision:  # fmt: skip
    incident = case.incident
    earlier = [one.at for one in attempts(incident, action, pod.uid if pod else "") if not one.refused]
    last = repr(max(earlier)) if earlier else "first"
    return Decision(
        name=name_object(incident.workload, action.title.lower(), incident.id, pod.uid if pod else "", last, refused),
        incident_id=incident.id,
        action=action,
        workload=incident.workload,
        pod=_describe_pod(pod, case.facts) if pod else None,
        reason=f"{incident.level.title}, cause {incident.cause.value}: {incident.explanation}",
        policy=incident.policy,
        at=case.now,
        to=to,
        target=target,
        refused=refused,
    )


def _describe_pod(pod: PodState, facts: WorkloadFacts) -> PodFacts:
    return PodFacts(
        uid=pod.uid,
        namespace=facts.workload.namespace,
        name=pod.name,
        node=pod.node,
        labels=(),
        workload=facts.workload,
        revision=pod.revision,
    )
