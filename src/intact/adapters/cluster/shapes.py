"""The few fields of Kubernetes objects that are kept: everything else of a list or watch is dropped while it is decoded.

In: JSON of the API server. Out: msgspec Structs, and from them the records of `act.ports`. Never a whole object.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from intact.act.ports import ContainerState, Owner, PodState
from intact.model.incident import Workload

MIRROR = "kubernetes.io/config.mirror"
"""The annotation of a mirror pod: the API's picture of a static pod (kubelet, static pods)."""
ARGO_CD = "argocd.argoproj.io/tracking-id"
REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"
CONTROLLER_HASH_LABEL = "controller-revision-hash"
"""What StatefulSets and DaemonSets give their pods; a Deployment's have `HASH_LABEL`. A Job's template makes no second pod of one kind."""


class OwnerReference(msgspec.Struct):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Annotations(msgspec.Struct):
    mirror: str | None = msgspec.field(name=MIRROR, default=None)
    revision: str | None = msgspec.field(name=REVISION, default=None)
    argo_cd: str | None = msgspec.field(name=ARGO_CD, default=None)


class Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None
    ownerReferences: list[OwnerReference] | None = None
    creationTimestamp: datetime | None = None
    deletionTimestamp: datetime | None = None

    @property
    def owner(self) -> Owner | None:
        for reference in self.ownerReferences or ():
            if reference.controller:
                return Owner(kind=reference.kind, name=reference.name, uid=reference.uid)
        return None


class ProbeShape(msgspec.Struct):
    """That there is one is all that counts."""


class ContainerSpec(msgspec.Struct):
    name: str = ""
    image: str = ""
    restartPolicy: str | None = None
    readinessProbe: ProbeShape | None = None
    startupProbe: ProbeShape | None = None


class PodSpec(msgspec.Struct):
    nodeName: str = ""
    containers: list[ContainerSpec] | None = None
    initContainers: list[ContainerSpec] | None = None


class RunningSince(msgspec.Struct):
    startedAt: datetime | None = None


class ContainerPhase(msgspec.Struct):
    running: RunningSince | None = None


class ContainerStatus(msgspec.Struct):
    name: str = ""
    imageID: str = ""
    state: ContainerPhase | None = None


class ConditionShape(msgspec.Struct):
    type: str = ""
    status: str = ""
    lastTransitionTime: datetime | None = None


class PodStatus(msgspec.Struct):
    phase: str = ""
    conditions: list[ConditionShape] | None = None
    containerStatuses: list[ContainerStatus] | None = None
    initContainerStatuses: list[ContainerStatus] | None = None


class PodShape(msgspec.Struct):
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class NodeInfo(msgspec.Struct):
    operatingSystem: str = ""
    architecture: str = ""


class MachineStatus(msgspec.Struct):
    nodeInfo: NodeInfo = msgspec.field(default_factory=NodeInfo)


class MachineShape(msgspec.Struct):
    """A Node of Kubernetes."""

    metadata: Metadata
    status: MachineStatus = msgspec.field(default_factory=MachineStatus)


class ReplicaSetShape(msgspec.Struct):
    metadata: Metadata


class DeploymentSpec(msgspec.Struct):
    replicas: int | None = None
    paused: bool = False


class DeploymentStatus(msgspec.Struct):
    observedGeneration: int = 0
    replicas: int = 0
    updatedReplicas: int = 0
    readyReplicas: int = 0


class DeploymentShape(msgspec.Struct):
    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


def pod_state(pod: PodShape) -> PodState:
    """The pod as the rest of Intact sees it. `workload` is its direct owner, or the pod itself: the cache knows who owns that."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    owner = meta.owner
    statuses = {s.name: s for s in (*(status.containerStatuses or ()), *(status.initContainerStatuses or ()))}
    init = spec.initContainers or ()
    ready = next((c for c in status.conditions or () if c.type == "Ready"), ConditionShape())
    labels = meta.labels or {}
    # An init container that restarts always is a sidecar: it runs as long as the pod.
    lasting = [*(c for c in init if c.restartPolicy == "Always"), *(spec.containers or ())]
    return PodState(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        node=spec.nodeName,
        workload=Workload(
            kind=owner.kind if owner else "Pod",
            namespace=meta.namespace,
            name=owner.name if owner else meta.name,
            uid=owner.uid if owner else meta.uid,
        ),
        labels=tuple(sorted((meta.labels or {}).items())),
        owner=owner,
        revision=(meta.labels or {}).get(HASH_LABEL, ""),
        containers=tuple(_container(c, statuses) for c in lasting),
        init_containers=tuple(_container(c, statuses) for c in init if c.restartPolicy != "Always"),
        # Anybody may label a pod of their own: only who controls it says what it was made from.
        template=labels.get(HASH_LABEL) or labels.get(CONTROLLER_HASH_LABEL, "") if owner else "",
        ready=ready.status == "True",
        ready_since=ready.lastTransitionTime.timestamp() if ready.lastTransitionTime else 0.0,
        is_probed=any(c.readinessProbe is not None or c.startupProbe is not None for c in lasting),
        terminating=meta.deletionTimestamp is not None,
        finished=status.phase in ("Succeeded", "Failed"),
        static=meta.annotations is not None and meta.annotations.mirror is not None,
        created_at=meta.creationTimestamp.timestamp() if meta.creationTimestamp else 0.0,
    )


def _container(spec: ContainerSpec, statuses: dict[str, ContainerStatus]) -> ContainerState:
    status = statuses.get(spec.name, ContainerStatus())
    running = status.state.running if status.state else None
    started = running.startedAt if running else None
    return ContainerState(name=spec.name, image=spec.image, image_id=status.imageID, started_at=started.timestamp() if started else None)
