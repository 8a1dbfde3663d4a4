"""The table owner kind × action: what may be done to what, as steps, or why not. Pure.

In: a decision and the state of its target. Out: one step, or `Refused` with the reason a person reads. Never touches the world, and never
plans anything but one eviction or one template: replica counts, annotations and finalizers are nobody's here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from intact.model.incident import Decision
from intact.model.revision import RevisionRecord

from .ports import DeploymentState, PodState, Reference, RevisionState, Template
from .template import pin_images, references_of


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done, and why. `code` is for machines."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class AlreadyGone:
    """The pod to be replaced is gone or going: there is nothing to do but to look at what comes."""


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The Deployment has the pinned template of an earlier revision: `revision` is the hash of the ReplicaSet that runs it."""

    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    pod: PodState


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTemplate:
    """Give `deployment` the template of `target`, pinned. `references` must exist; the current template needs `shared` of them too."""

    deployment: DeploymentState
    target: RevisionState
    template: Template
    references: tuple[Reference, ...]
    shared: tuple[Reference, ...]


NO_CONTROLLER = "no controller would replace it: delete and recreate it by hand"
JOB = "its Job would count a failed attempt or run the work twice: suspend the Job by hand"
ONLY_DEPLOYMENTS = "only Deployments are rolled back"

RESTART: MappingProxyType[str, str] = MappingProxyType(
    {
        "ReplicaSet": "",
        "ReplicationController": "",
        "StatefulSet": "",
        "DaemonSet": "",
        "Job": JOB,
        "Node": "it is a static pod: its kubelet runs it from a file on the node",
        "": f"the pod has no owner: {NO_CONTROLLER}",
    }
)
"""RestartPod, by the kind of the pod's own controller: empty where it makes a new pod from the same template, else the reason against."""

ROLL_BACK: MappingProxyType[str, str] = MappingProxyType(
    {
        "Deployment": "",
        "StatefulSet": f"{ONLY_DEPLOYMENTS}, a StatefulSet's pods are replaced in order and its volumes stay",
        "DaemonSet": f"{ONLY_DEPLOYMENTS}, not a DaemonSet",
        "ReplicaSet": "a ReplicaSet of its own has no earlier revision",
        "ReplicationController": "a ReplicationController has no earlier revision",
        "Job": "a Job has no earlier revision",
        "CronJob": "a CronJob has no earlier revision",
        "Pod": "a pod of its own has no earlier revision",
        "Node": "a static pod has no earlier revision",
    }
)
"""RollBack, by the kind of the workload."""


def plan_restart(decision: Decision, pod: PodState | None) -> Evict | AlreadyGone | Refused:
    """A fresh pod in the place of the decision's pod.

    1. The decision names a pod, and that one (by uid) is still there. 2. A static pod is not evicted, whatever its owner. 3. Its own
    controller makes a new one.
    """
    # 1
    if decision.pod is None:
        return Refused("NoPod", "the decision names no pod")
    if pod is None or pod.uid != decision.pod.uid or pod.terminating or pod.finished:
        return AlreadyGone()
    # 2
    kind = "Node" if pod.static else pod.owner.kind if pod.owner else ""
    # 3
    reason = RESTART.get(kind)
    if reason is None:
        return Refused("UnknownOwner", f"the pod belongs to a {kind}, and nothing is known of what that does when a pod is evicted")
    return Refused("Owner", reason) if reason else Evict(pod=pod)


def plan_rollback(
    decision: Decision, deployment: DeploymentState | None, record: RevisionRecord | None
) -> SetTemplate | AlreadyDone | Refused:
    """The Deployment's template as it was in the revision the decision names, each image pinned to the digest that really ran.

    `record` is what is remembered of that revision.

    1. The workload's kind has revisions, and it is the same object. 2. The target is still there. 3. Its images are known by digest. 4. If
    it went back already, that is all: planning twice does not go back twice. 5. Nothing newer was rolled out since the decision. 6. It is
    not paused, and nobody else manages or changes it now.
    """
    # 1
    kind = decision.workload.kind
    reason = ROLL_BACK.get(kind, f"{ONLY_DEPLOYMENTS}, not a {kind}")
    if reason:
        return Refused("Owner", reason)
    if deployment is None or deployment.terminating or (decision.workload.uid and deployment.uid != decision.workload.uid):
        return Refused("TargetGone", f"{decision.workload} is gone")
    # 2
    target = next((r for r in deployment.revisions if r.name == decision.target and (record is None or r.uid == record.uid)), None)
    if target is None:
        return Refused("NoTarget", f"ReplicaSet {decision.target or '(none)'} is gone: revisionHistoryLimit says how many are kept")
    # 3
    template, unknown = pin_images(target.template, record.images if record else ())
    if unknown:
        return Refused("NoDigest", f"revision {target.number} ({target.name}): {unknown}")
    # 4
    current = deployment.current
    if current is not None and (current.uid == target.uid or deployment.template == template):
        return AlreadyDone(current.hash)
    # 5
    if current is not None and current.created_at > decision.at:
        return Refused("Superseded", f"revision {current.number} ({current.name}) was rolled out after this was decided")
    # 6
    if unfit := _unfit(deployment):
        return unfit
    references = references_of(template)
    shared = references_of(deployment.template)
    return SetTemplate(
        deployment=deployment,
        target=target,
        template=template,
        references=references,
        shared=tuple(r for r in references if r in shared),
    )


def _unfit(deployment: DeploymentState) -> Refused | None:
    name = f"Deployment {deployment.namespace}/{deployment.name}"
    if deployment.owner is not None:
        return Refused(
            "Managed", f"{name} is managed by {deployment.owner.kind} {deployment.owner.name}, which would undo it: roll back there"
        )
    if deployment.paused:
        return Refused("Paused", f"{name} is paused: resume it, then roll back")
    moving = deployment.updated < deployment.wanted or deployment.replicas > deployment.updated
    if deployment.observed_generation < deployment.generation or moving:
        return Refused("MidRollout", f"{name} is being rolled out ({deployment.updated} of {deployment.wanted} pods updated)")
    return None
