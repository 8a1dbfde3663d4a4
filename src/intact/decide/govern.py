"""Which policy governs a pod, and what that means for its node.

Policies and pods in, one policy a pod or one plan a node out; the same answer whatever the order of the input.

1. The cluster policy with the most requirements in its selector governs; of equals the strictest mode first, then by name.
2. Without one, the policy of the pod's own namespace, chosen the same way.
3. Under a cluster policy the namespace's own may only tighten the mode; the rest is the cluster's.
4. A pod that no policy selects is observed with the defaults: nothing is done to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from intact.model.digest import Digest
from intact.model.finding import Change, Level
from intact.model.incident import PodFacts
from intact.model.policy import Mode, Policy, Purpose
from intact.model.seam import Plan, PlannedLevel, PodPlan

DEFAULT = Policy(name="default")
MAX_EXPECTED_BYTES = 16 << 10
"""So much of what a policy expects a node is told, that it need not send what nobody wants; `decide.expect` excuses the rest."""
OF_FILES = (Change.ADDED, Change.DELETED, Change.TYPE, Change.MODIFIED, Change.METADATA)
_STRICTNESS = {Mode.OFF: 0, Mode.OBSERVE: 1, Mode.ENFORCE: 2}


def govern(namespace: str, labels: Iterable[tuple[str, str]], policies: Iterable[Policy]) -> Policy:
    """The one policy for a pod of `namespace` with `labels`."""
    known = dict(labels)
    selecting = sorted((p for p in policies if p.selects(namespace, known)), key=_rank)
    cluster = next((p for p in selecting if not p.namespace), None)
    own = next((p for p in selecting if p.namespace), None)
    if cluster is None:
        return own or DEFAULT  # 2, 4
    if own is not None and _STRICTNESS[own.mode] > _STRICTNESS[cluster.mode]:
        return replace(cluster, mode=own.mode)  # 3
    return cluster  # 1


def compile_plan(pods: Iterable[PodFacts], policies: Sequence[Policy], etag: str = "", *, withdrawn: tuple[Digest, ...] = ()) -> Plan:
    """How the node of `pods` watches them, and which baselines it is to use no more. Without an `etag` the plan is named by its content."""
    plans = tuple(_compile_pod(pod, policies) for pod in sorted(pods, key=lambda pod: pod.uid))
    default = PodPlan(pod_uid="")
    if not etag:
        text = repr(((default, *plans), withdrawn))
        etag = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Plan(etag=etag, pods=plans, default=default, withdrawn=withdrawn)


def _compile_pod(pod: PodFacts, policies: Sequence[Policy]) -> PodPlan:
    policy = govern(pod.namespace, pod.labels, policies)
    return PodPlan(
        pod_uid=pod.uid,
        watched=policy.mode is not Mode.OFF,
        realtime=policy.watch.realtime,
        interval_s=policy.watch.interval_s,
        volumes=policy.watch.volumes,
        levels=plan_levels(policy),
    )


def plan_levels(policy: Policy) -> tuple[PlannedLevel, ...]:
    """What a node tells of pods under `policy` besides what the default rules tell, and so reads and lists: what `levels` raise, without
    what `expect` excuses anyway, as far as that fits `MAX_EXPECTED_BYTES`. Of builds nothing: what they write is their work."""
    if policy.workload is Purpose.BUILD or all(one.level is Level.INFO for one in policy.levels):
        return ()
    planned = [PlannedLevel(paths=one.paths, level=one.level) for one in policy.levels]
    left = MAX_EXPECTED_BYTES
    for expectation in policy.expect:
        left -= sum(len(path.encode()) for path in expectation.paths)
        if not expectation.grows and left >= 0:
            changes = expectation.changes or OF_FILES
            planned.append(PlannedLevel(paths=expectation.paths, level=Level.INFO, changes=changes, until=expectation.until))
    return tuple(planned)


def _rank(policy: Policy) -> tuple[int, int, str, str]:
    requirements = len(policy.match_labels) + len(policy.match_expressions)
    return -requirements, -_STRICTNESS[policy.mode], policy.namespace, policy.name
