"""The guard rails: why an action must not be taken now.

An action, the incident and the facts in; a reason out, empty if nothing speaks against it. Reasons hold no time that runs, so that the same
refusal is the same text and is told once. `refuse_any` speaks for every action on the workload, the others for their own action.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intact.model.facts import NoTarget, PodState, WorkloadFacts
from intact.model.finding import Level
from intact.model.incident import Incident, Phase, Seen, Taken
from intact.model.policy import ActionKind, Cause, Corroboration, Policy
from intact.model.revision import RevisionRecord

PROTECTED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
RESTARTABLE = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"})
"""Kinds that replace a pod that is evicted."""
REVERSIBLE = frozenset({"Deployment"})
"""Kinds that can be rolled back."""
INCURABLE = {
    Cause.UNKNOWN: "the cause is Unknown: no action is known to cure it",
    Cause.NODE: "the cause is Node: a fresh pod or another revision would start from the same bytes",
}
"""Causes for which there is no action, and what is said of them."""
PENDING = frozenset({Phase.PROPOSED.value, Phase.RUNNING.value, Phase.SUCCEEDED.value})
"""States of an action that has begun and is not proven yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a guard rail asks about; `seen` are the findings that call for the action."""

    incident: Incident
    policy: Policy
    facts: WorkloadFacts
    seen: tuple[Seen, ...]
    now: float


def history(incident: Incident, facts: WorkloadFacts) -> tuple[Taken, ...]:
    """The actions taken for the workload, in this incident and in others, each once; neither alerts nor refusals."""
    every = {one.name: one for one in (*facts.actions, *incident.taken)}
    return tuple(one for one in every.values() if one.action is not ActionKind.ALERT and one.state != Phase.REFUSED.value)


def refuse_any(case: Situation, planned: int = 0) -> str:
    """Why nothing at all may be done to the workload. `planned` actions of this round, the same moment, count towards the budget, but are
    no reason to wait."""
    facts, guard = case.facts, case.policy.guard
    namespace = facts.workload.namespace
    if case.incident.cause in INCURABLE:
        return INCURABLE[case.incident.cause]
    if namespace in PROTECTED_NAMESPACES or (namespace and namespace == facts.own_namespace):
        return f"namespace {namespace} is only observed"
    if case.seen and all(one.grade < case.policy.require for one in case.seen):
        best = max((one.grade for one in case.seen), default=case.policy.require)
        return f"the baseline is only {best.title}, the policy requires {case.policy.require.title}"
    past = [one for one in history(case.incident, facts) if one.at < case.now]
    if sum(one.at > case.now - guard.per_s for one in past) + planned >= guard.max_actions:
        return f"budget: {guard.max_actions} actions per {_span(guard.per_s)}"
    if any(one.at > case.now - guard.cooldown_s for one in past):
        return f"cooldown: another action within {_span(guard.cooldown_s)}"
    return ""


def refuse_restart(case: Situation, pod: PodState, gone: int) -> str:
    """Why `pod` may not be restarted when `gone` ready pods go in the same round already.

    A workload of one replica cannot keep one ready while its only pod is replaced; of it, none is asked.
    """
    kind = case.facts.workload.kind
    if kind not in RESTARTABLE:
        return f"a {kind} does not replace a pod that is gone"
    left = case.facts.ready - gone - (1 if pod.ready else 0)
    least = min(case.policy.guard.min_ready, max(case.facts.desired - 1, 0))
    if pod.ready and left < least:
        return f"minReady: fewer than {least} other pods would be ready"
    return ""


def refuse_rollback(case: Situation) -> str:
    """Why the workload may not be rolled back."""
    facts, guard = case.facts, case.policy.guard
    if facts.workload.kind not in REVERSIBLE:
        return f"a {facts.workload.kind} cannot be rolled back"
    if facts.managed_by:
        return f"{facts.managed_by} owns the workload and would undo the rollback: roll back there"
    if facts.paused:
        return "the rollout is paused"
    if facts.rolling_out:
        return "a rollout is under way"
    if facts.rolled_back:
        return "rolled back once already: one automatic step until a new rollout or a person's reset"
    refused = _refuse_distrusted(case) if case.incident.cause is Cause.IMAGE_TRUST else _refuse_drifted(case)
    if refused:
        return refused
    if facts.ready < min(guard.min_ready, max(facts.desired - 1, 0)):
        return f"minReady: fewer than {guard.min_ready} pods are ready"
    target = find_target(case)
    return f"no revision to go back to: {target.reason}" if isinstance(target, NoTarget) else ""


def _refuse_distrusted(case: Situation) -> str:
    """The controller has seen itself that the image is not trusted: nobody needs to confirm it."""
    facts = case.facts
    names = {pod for one in facts.matters if one.cause is Cause.IMAGE_TRUST for pod in one.pods}
    if not facts.revision or not any(pod.name in names and pod.revision == facts.revision for pod in facts.pods):
        return "the pods whose image is not trusted are not of the current revision"
    return ""


def _refuse_drifted(case: Situation) -> str:
    facts, guard = case.facts, case.policy.guard
    current = [one for one in case.seen if one.revision == facts.revision]
    if not facts.revision or not current:
        return "the drifted pods are not of the current revision"
    believed = [one for one in current if one.pod_uid not in facts.doubted]
    if not believed:
        return "its node says of the image what others do not: on its word no workload is changed"
    nodes = {one.node for one in believed if one.grade >= case.policy.require}
    if guard.corroboration is Corroboration.TWO_NODES and len(nodes) < 2:
        return "corroboration: only one node reports it, the policy requires TwoNodes"
    return ""


def find_target(case: Situation) -> RevisionRecord | NoTarget:
    """What a rollback would go back to, as the policy wants it chosen."""
    wanted = case.policy.guard.rollback_to
    return next((found for to, found in case.facts.targets if to is wanted), NoTarget(reason=f"{wanted.value} was not looked for"))


def drifted_pods(incident: Incident, facts: WorkloadFacts, seen: Iterable[Seen]) -> list[PodState]:
    """The pods of `seen` that still exist and were not found intact since, the gravest first."""
    levels: dict[str, Level] = {}
    for one in seen:
        levels[one.pod_uid] = max(one.level, levels.get(one.pod_uid, one.level))
    last = {one.pod_uid: one.last_seen for one in incident.affected}
    drifted = [p for p in facts.pods if p.uid in levels and not is_intact_since(p, last.get(p.uid, incident.last_seen))]
    return sorted(drifted, key=lambda p: (-levels[p.uid], p.name, p.uid))


def is_intact_since(pod: PodState, moment: float) -> bool:
    """Whether a look at `pod` that began after `moment` was clean."""
    return pod.intact_at is not None and pod.intact_at > moment


def attempts(incident: Incident, action: ActionKind, pod_uid: str) -> Sequence[Taken]:
    """Earlier decisions for the same action on the same pod or workload, refusals included."""
    return [one for one in incident.taken if one.action is action and one.pod_uid == pod_uid]


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
