"""One host without Kubernetes, as a world for the cluster flow: every container is its own workload, and nothing can be replaced.

In: policies that people gave on the command line. Never acts: what a policy asks for beyond alerts is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from intact.model.container import Container
from intact.model.facts import NoTarget, PodState, WorkloadFacts
from intact.model.incident import Incident, Outcome, Phase, PodFacts, Workload
from intact.model.policy import Policy, RollbackTo
from intact.model.revision import RevisionRecord
from intact.model.seam import NodeStatus

from .looks import Looks

NO_CLUSTER = "there is no Kubernetes here that could replace the container: start it anew from its image"


class Host:
    """Implements `run.cluster.world.World`. `policies` select by namespace (the pod's, if the runtime knows one) and have no labels to go
    by."""

    def __init__(self, node: str, policies: tuple[Policy, ...] = ()) -> None:
        self._node = node
        self._policies = policies
        self._known: dict[Workload, PodState] = {}
        self._listed = False

    def locate(self, container: Container, now: float) -> PodFacts:
        pod = container.pod
        namespace, name = (pod.namespace, f"{pod.name}/{container.name}") if pod else ("", container.name)
        workload = Workload(kind="Container", namespace=namespace, name=name, uid=container.id)
        self._known[workload] = PodState(uid=container.id, name=name, node=container.node)
        return _facts_of(workload, self._known[workload])

    def node_of(self, pod_uid: str) -> str | None:
        return None

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        return tuple(_facts_of(workload, pod) for workload, pod in tuple(self._known.items()))

    def declared_on(self, node: str) -> Mapping[str, Mapping[str, str]]:
        """Nothing: there is no other node to hold its word against."""
        return {}

    def node_count(self) -> int:
        return 1

    def pod_of(self, workload: Workload) -> PodFacts | None:
        pod = self._known.get(workload)
        return None if pod is None else _facts_of(workload, pod)

    def policies(self) -> tuple[Policy, ...]:
        return self._policies

    def facts(self, workload: Workload, now: float) -> WorkloadFacts:
        pods = (self._known[workload],) if workload in self._known else ()
        if not self._listed:  # an earlier life knew it, and it is not gone before this one has looked
            pods = (PodState(uid=workload.uid, name=workload.name, node=self._node),)
        targets = tuple((to, NoTarget(reason=NO_CLUSTER)) for to in RollbackTo)
        return WorkloadFacts(workload=workload, ready=len(pods), desired=1, pods=pods, targets=targets)

    def revision_of(self, pod: PodFacts, records: Iterable[RevisionRecord], now: float) -> RevisionRecord | None:
        return None

    def advance(self, outcome: Outcome, target: RevisionRecord | None, looks: Looks, now: float) -> Outcome:
        return replace(outcome, phase=Phase.REFUSED, message=NO_CLUSTER, at=now)

    def publish_incident(self, incident: Incident, now: float) -> float:
        return 0.0

    def publish_outcome(self, outcome: Outcome, now: float) -> float:
        return 0.0

    def keep_house(self, now: float) -> None: ...

    def publish_status(self, status: NodeStatus, now: float) -> float:
        """Containers that the host does not run any more are forgotten."""
        alive = {covered.container.id for covered in status.coverage}
        self._listed = True
        self._known = {workload: pod for workload, pod in self._known.items() if pod.uid in alive}
        return 0.0


def _facts_of(workload: Workload, pod: PodState) -> PodFacts:
    """Each container stands for itself, as a pod of one."""
    return PodFacts(uid=pod.uid, namespace=workload.namespace, name=pod.name, node=pod.node, labels=(), workload=workload)
