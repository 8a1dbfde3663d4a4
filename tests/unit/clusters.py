"""A cluster of pods as a test declares them, and the cluster's half of the flow in it: real stores and record, the test's own clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.audit.record import Leaf
from intact.model.alert import Alert
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.facts import NoTarget, PodState, WorkloadFacts
from intact.model.incident import Incident, Outcome, PodFacts, Workload
from intact.model.layer import Grade
from intact.model.policy import Policy, RollbackTo
from intact.model.revision import RevisionRecord
from intact.model.seam import Coverage, NodeStatus, Report
from intact.run.cluster.flow import ClusterFlow
from intact.run.cluster.library import Known
from intact.run.cluster.looks import Looks
from intact.run.storage.memory import ClusterState, make_router, open_state
from tests.unit.seam_contract import wait_until

START = 1_000_000.0


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Pods:
    """Implements `run.cluster.world.World`: `pods` by UID. Nothing is ever carried out."""

    pods: dict[str, PodFacts] = field(default_factory=dict)
    declared: tuple[Policy, ...] = ()
    shown: dict[str, Incident] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    """What a pod's container `web` declares, by the pod's UID; `registry.example/web:1` where nothing is said."""
    nodes: int = 3

    def add(self, name: str, node: str, *, namespace: str = "shop", app: str = "web") -> Pod:
        uid = f"uid-{namespace}-{name}"
        workload = Workload(kind="Deployment", namespace=namespace, name=app, uid=f"uid-{namespace}-{app}")
        self.pods[uid] = PodFacts(uid=uid, namespace=namespace, name=name, node=node, labels=(), workload=workload, revision="r1")
        return Pod(namespace=namespace, name=name, uid=uid)

    def locate(self, container: Container, now: float) -> PodFacts:
        uid = container.pod.uid if container.pod else container.id
        workload = Workload(kind="Pod", namespace="", name=uid, uid=uid)
        return self.pods.get(uid) or PodFacts(uid=uid, namespace="", name=uid, node=container.node, labels=(), workload=workload)

    def node_of(self, pod_uid: str) -> str | None:
        pod = self.pods.get(pod_uid)
        return pod.node if pod else None

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        return tuple(pod for pod in self.pods.values() if pod.node == node)

    def declared_on(self, node: str) -> Mapping[str, Mapping[str, str]]:
        return {pod.uid: {"web": self.images.get(pod.uid, "registry.example/web:1")} for pod in self.pods_on(node)}

    def node_count(self) -> int:
        return self.nodes

    def pod_of(self, workload: Workload) -> PodFacts | None:
        return next((pod for pod in self.pods.values() if pod.workload == workload), None)

    def policies(self) -> tuple[Policy, ...]:
        return self.declared

    def facts(self, workload: Workload, now: float) -> WorkloadFacts:
        pods = tuple(
            PodState(uid=p.uid, name=p.name, node=p.node, revision=p.revision) for p in self.pods.values() if p.workload == workload
        )
        targets = tuple((to, NoTarget(reason="a test has none")) for to in RollbackTo)
        return WorkloadFacts(workload=workload, ready=len(pods), desired=len(pods), revision="r1", pods=pods, targets=targets)

    def revision_of(self, pod: PodFacts, records: Iterable[RevisionRecord], now: float) -> RevisionRecord | None:
        return None

    def advance(self, outcome: Outcome, target: RevisionRecord | None, looks: Looks, now: float) -> Outcome:
        return outcome

    def publish_incident(self, incident: Incident, now: float) -> float:
        self.shown[incident.id] = incident
        return 0.0

    def publish_outcome(self, outcome: Outcome, now: float) -> float:
        return 0.0

    def keep_house(self, now: float) -> None: ...

    def publish_status(self, status: NodeStatus, now: float) -> float:
        return 0.0


@dataclass
class Library:
    """Implements `run.cluster.library.BaselineLibrary`: the roots that the cluster computed itself."""

    roots: dict[Digest, Digest] = field(default_factory=dict)
    taken_back: list[Digest] = field(default_factory=list)
    """Roots of baselines that people had supplied."""

    def known(self, key: Digest) -> Known | None:
        root = self.roots.get(key)
        return None if root is None else Known(root=root, algorithms="sha256", grade=Grade.VERIFIED, source="docker://registry.example/web")

    def document(self, key: Digest) -> bytes | None:
        return None

    def withdrawn(self) -> tuple[Digest, ...]:
        return tuple(self.taken_back)

    def has_supplied(self, root: Digest) -> bool:
        return root in self.taken_back


@dataclass
class Told:
    """Implements `notify.ports.Sink`."""

    alerts: list[Alert] = field(default_factory=list)
    name: str = "told"

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


@dataclass
class Staged:
    flow: ClusterFlow
    world: Pods
    library: Library
    state: ClusterState
    clock: Clock
    told: Told
    deliver: Callable[[], object]
    reports: int = 0

    def report(self, node: str, *coverage: Coverage) -> None:
        """`node` says what it runs, all of it."""
        self.reports += 1
        self.clock.now += 1.0
        self.flow.receive(node, Report(id=f"{self.clock.now}-{self.reports}", node=node, at=self.clock.now, coverage=coverage))

    def incidents(self) -> tuple[Incident, ...]:
        return self.state.memory.incidents.list_recent(100)

    def wait_incident(self, holds: Callable[[Incident], bool] = lambda one: True) -> Incident:
        found: list[Incident] = []

        def is_found() -> bool:
            self.clock.now += 0.01
            found[:] = [one for one in self.incidents() if holds(one)]
            return bool(found)

        wait_until(is_found, 60)
        return found[0]

    def alerts(self) -> list[Alert]:
        self.deliver()
        return self.told.alerts

    def leaves(self, kind: str) -> list[Leaf]:
        return [leaf for _, leaf in find_leaves(self.state.leaves, Query(kinds=frozenset({kind})))]


@contextmanager
def staged(directory: Path, before: Staged | None = None) -> Iterator[Staged]:
    """The cluster's half, running, with its state in `directory`; with `before`, that one restarted."""
    world, library, clock = (before.world, before.library, before.clock) if before else (Pods(), Library(), Clock())
    state, told = before.state if before else open_state(directory), Told()
    router = make_router(state, [told])
    flow = ClusterFlow(world=world, memory=state.memory, audit=state.audit, router=router, library=library, clock=clock)
    stop = threading.Event()
    running = threading.Thread(target=flow.run, args=(stop,), daemon=True)
    running.start()
    try:
        yield Staged(flow, world, library, state, clock, told, lambda: router.deliver_due("told"))
    finally:
        stop.set()
        running.join(30)
