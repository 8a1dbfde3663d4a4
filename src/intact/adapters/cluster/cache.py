"""What the controller remembers of the cluster between two API calls: pods, who owns them, Deployments. Reduced records, never objects.

In: calls of the reflectors. Out: answers about one pod, one node, one workload. Thread-safe. A pod that is gone is remembered for a while,
so that a finding about it can still be told to whom it belongs. Never asks the API server.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from intact.act.ports import Owner, PodState
from intact.model.incident import PodFacts, Workload

from .shapes import DeploymentShape, MachineShape, Metadata, PodShape, ReplicaSetShape, pod_state

MAX_GONE = 5000
REMEMBER_GONE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetFacts:
    """A ReplicaSet: `number` is its Deployment's revision number, 0 if it has none."""

    uid: str
    namespace: str
    name: str
    hash: str
    number: int
    owner: Owner | None
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFacts:
    """A Deployment: `rolling_out` while pods of another template than its own exist or some of its own do not. `managed_by` names whoever
    would undo a change of it (`Argo CD`, `Flux`, `Helm`, `Kind name` of an operator's object), empty if nobody."""

    uid: str
    namespace: str
    name: str
    wanted: int
    ready: int
    paused: bool
    rolling_out: bool
    managed_by: str


class ClusterCache:
    """`machines`, `pods`, `replica_sets` and `deployments` are the stores for four reflectors. `on_pod(uid)` is called after each change
    of a pod, from the reflector's thread; it returns quickly."""

    def __init__(self, *, on_pod: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.RLock()
        self._on_pod, self._clock = on_pod, clock
        self._pods: dict[str, PodState] = {}
        self._gone: OrderedDict[str, tuple[float, PodState]] = OrderedDict()
        self._by_node: dict[str, set[str]] = {}
        self._by_owner: dict[str, set[str]] = {}
        self._replica_sets: dict[str, ReplicaSetFacts] = {}
        self._deployments: dict[str, DeploymentFacts] = {}
        self._platforms: dict[str, str] = {}
        self.machines = _Machines(self)
        self.pods = _Pods(self)
        self.replica_sets = _ReplicaSets(self)
        self.deployments = _Deployments(self)

    def pod(self, uid: str) -> PodState | None:
        """The pod, or what it was if it is gone for less than an hour."""
        with self._lock:
            found = self._pods.get(uid) or self._gone.get(uid, (0.0, None))[1]
            return self.resolve(found) if found else None

    def facts(self, uid: str) -> PodFacts | None:
        found = self.pod(uid)
        return facts_of(found) if found else None

    def node_of(self, uid: str) -> str | None:
        """The node the pod is or was on; None for an unknown pod and for one that is not scheduled."""
        with self._lock:
            found = self._pods.get(uid) or self._gone.get(uid, (0.0, None))[1]
            return found.node or None if found else None

    def pods_on(self, node: str) -> tuple[PodState, ...]:
        with self._lock:
            return tuple(self.resolve(self._pods[uid]) for uid in sorted(self._by_node.get(node, ())))

    def pods_of(self, workload: Workload) -> tuple[PodState, ...]:
        """The pods of a Deployment, of another controller, or the bare pod itself. By uid where the workload has one."""
        with self._lock:
            uids: set[str] = set()
            owners = {workload.uid, *(r.uid for r in self._replica_sets.values() if r.owner and r.owner.uid == workload.uid)}
            for owner in owners:
                uids |= self._by_owner.get(owner, set())
            if workload.kind == "Pod" and workload.uid in self._pods:
                uids.add(workload.uid)
            return tuple(self.resolve(self._pods[uid]) for uid in sorted(uids))

    def all_pods(self) -> tuple[PodState, ...]:
        with self._lock:
            return tuple(self.resolve(p) for p in self._pods.values())

    def replica_set(self, uid: str) -> ReplicaSetFacts | None:
        with self._lock:
            return self._replica_sets.get(uid)

    def replica_sets_of(self, deployment_uid: str) -> tuple[ReplicaSetFacts, ...]:
        """The newest revision first. The first is the current one, once the Deployment's controller has seen its latest template."""
        with self._lock:
            own = [r for r in self._replica_sets.values() if r.owner and r.owner.uid == deployment_uid]
        return tuple(sorted(own, key=lambda r: -r.number))

    def deployment(self, uid: str) -> DeploymentFacts | None:
        with self._lock:
            return self._deployments.get(uid)

    def wanted(self, workload: Workload) -> int:
        """How many pods the workload asks for; for kinds that are not watched, how many it has."""
        with self._lock:
            known = self._deployments.get(workload.uid)
            return known.wanted if known else len([p for p in self.pods_of(workload) if not p.finished])

    def platform_of(self, node: str) -> str:
        """`os/architecture` of the node, as its kubelet says (`linux/amd64`, as an OCI index names them); empty where nobody knows."""
        with self._lock:
            return self._platforms.get(node, "")

    def node_count(self) -> int:
        with self._lock:
            return len(self._platforms)

    def put_machines(self, changed: Iterable[tuple[str, str]], *, all_of_them: bool = False) -> None:
        """(name, platform) of nodes."""
        with self._lock:
            if all_of_them:
                self._platforms.clear()
            self._platforms.update(changed)

    def drop_machine(self, name: str) -> None:
        with self._lock:
            self._platforms.pop(name, None)

    def resolve(self, pod: PodState) -> PodState:
        """The pod with its true workload: of a ReplicaSet, what owns that."""
        with self._lock:
            held = self._replica_sets.get(pod.owner.uid) if pod.owner else None
        if held is None or held.owner is None:
            return pod
        top = held.owner
        return replace(pod, workload=Workload(kind=top.kind, namespace=pod.namespace, name=top.name, uid=top.uid))

    def put_pod(self, pod: PodState) -> None:
        with self._lock:
            before = self._pods.get(pod.uid)
            if before == pod:
                return
            if before is not None:
                self._unindex(before)
            self._pods[pod.uid] = pod
            self._by_node.setdefault(pod.node, set()).add(pod.uid)
            if pod.owner:
                self._by_owner.setdefault(pod.owner.uid, set()).add(pod.uid)
        self._on_pod(pod.uid)

    def drop_pod(self, uid: str) -> None:
        with self._lock:
            pod = self._pods.pop(uid, None)
            if pod is None:
                return
            self._unindex(pod)
            now = self._clock()
            self._gone[uid] = (now, pod)
            while self._gone and (len(self._gone) > MAX_GONE or next(iter(self._gone.values()))[0] < now - REMEMBER_GONE_S):
                self._gone.popitem(last=False)
        self._on_pod(uid)

    def known_pods(self) -> set[str]:
        with self._lock:
            return set(self._pods)

    def put_replica_sets(self, changed: Iterable[ReplicaSetFacts], *, all_of_them: bool = False) -> None:
        with self._lock:
            if all_of_them:
                self._replica_sets.clear()
            self._replica_sets.update((r.uid, r) for r in changed)

    def drop_replica_set(self, uid: str) -> None:
        with self._lock:
            self._replica_sets.pop(uid, None)

    def put_deployments(self, changed: Iterable[DeploymentFacts], *, all_of_them: bool = False) -> None:
        with self._lock:
            if all_of_them:
                self._deployments.clear()
            self._deployments.update((d.uid, d) for d in changed)

    def drop_deployment(self, uid: str) -> None:
        with self._lock:
            self._deployments.pop(uid, None)

    def _unindex(self, pod: PodState) -> None:
        for index, key in ((self._by_node, pod.node), (self._by_owner, pod.owner.uid if pod.owner else "")):
            held = index.get(key)
            if held is not None:
                held.discard(pod.uid)
                if not held:
                    del index[key]


def facts_of(pod: PodState) -> PodFacts:
    """What `decide` works on."""
    return PodFacts(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        node=pod.node,
        labels=pod.labels,
        workload=pod.workload,
        revision=pod.revision,
        template=pod.template,
        is_ready=pod.ready,
        ready_since=pod.ready_since,
        is_probed=pod.is_probed,
        is_ending=pod.terminating,
    )


class _Pods:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def replace_all(self, objects: Iterable[PodShape]) -> None:
        stale = self._cache.known_pods()
        for one in objects:
            stale.discard(one.metadata.uid)
            self._cache.put_pod(pod_state(one))
        for uid in stale:
            self._cache.drop_pod(uid)

    def upsert(self, one: PodShape) -> None:
        self._cache.put_pod(pod_state(one))

    def remove(self, one: PodShape) -> None:
        self._cache.drop_pod(one.metadata.uid)


class _ReplicaSets:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def replace_all(self, objects: Iterable[ReplicaSetShape]) -> None:
        self._cache.put_replica_sets((_replica_set(o) for o in objects), all_of_them=True)

    def upsert(self, one: ReplicaSetShape) -> None:
        self._cache.put_replica_sets((_replica_set(one),))

    def remove(self, one: ReplicaSetShape) -> None:
        self._cache.drop_replica_set(one.metadata.uid)


class _Deployments:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def replace_all(self, objects: Iterable[DeploymentShape]) -> None:
        self._cache.put_deployments((_deployment(o) for o in objects), all_of_them=True)

    def upsert(self, one: DeploymentShape) -> None:
        self._cache.put_deployments((_deployment(one),))

    def remove(self, one: DeploymentShape) -> None:
        self._cache.drop_deployment(one.metadata.uid)


class _Machines:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def replace_all(self, objects: Iterable[MachineShape]) -> None:
        self._cache.put_machines((_platform(o) for o in objects), all_of_them=True)

    def upsert(self, one: MachineShape) -> None:
        self._cache.put_machines((_platform(one),))

    def remove(self, one: MachineShape) -> None:
        self._cache.drop_machine(one.metadata.name)


def _platform(shape: MachineShape) -> tuple[str, str]:
    info = shape.status.nodeInfo
    return shape.metadata.name, f"{info.operatingSystem}/{info.architecture}" if info.operatingSystem and info.architecture else ""


def _replica_set(shape: ReplicaSetShape) -> ReplicaSetFacts:
    meta = shape.metadata
    number = meta.annotations.revision if meta.annotations else None
    return ReplicaSetFacts(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        hash=(meta.labels or {}).get("pod-template-hash", ""),
        number=int(number) if number and number.isascii() and number.isdigit() else 0,
        owner=meta.owner,
        created_at=meta.creationTimestamp.timestamp() if meta.creationTimestamp else 0.0,
    )


def _deployment(shape: DeploymentShape) -> DeploymentFacts:
    meta, status = shape.metadata, shape.status
    unseen = meta.generation > status.observedGeneration
    wanted = 1 if shape.spec.replicas is None else shape.spec.replicas
    return DeploymentFacts(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        wanted=wanted,
        ready=status.readyReplicas,
        paused=shape.spec.paused,
        rolling_out=unseen or status.updatedReplicas < wanted or status.replicas > status.updatedReplicas,
        managed_by=manager_of(meta),
    )


def manager_of(meta: Metadata) -> str:
    """Who says by label, annotation or ownership that the object is its own to change (Argo CD resource tracking; Flux's kustomize and
    helm controllers; Helm 3's labels)."""
    labels = meta.labels or {}
    if meta.owner is not None:
        return f"{meta.owner.kind} {meta.owner.name}"
    if (meta.annotations and meta.annotations.argo_cd) or "argocd.argoproj.io/instance" in labels:
        return "Argo CD"
    if "kustomize.toolkit.fluxcd.io/name" in labels or "helm.toolkit.fluxcd.io/name" in labels:
        return "Flux"
    return "Helm" if labels.get("app.kubernetes.io/managed-by") == "Helm" else ""
