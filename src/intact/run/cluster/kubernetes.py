"""A Kubernetes cluster, as a world for the cluster flow: the caches answer questions, `act` does the work, custom resources show it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from intact.act.perform import Later, perform
from intact.act.ports import Actuator
from intact.act.verify import verify
from intact.adapters.cluster.cache import ClusterCache, facts_of
from intact.adapters.cluster.objects import Objects
from intact.adapters.cluster.revisions import record_pod
from intact.model.container import Container
from intact.model.errors import PermanentError
from intact.model.facts import PodState, WorkloadFacts
from intact.model.incident import Incident, Outcome, PathSummary, Phase, PodFacts, Workload
from intact.model.policy import Policy
from intact.model.revision import RevisionRecord
from intact.model.seam import NodeStatus

from .looks import Looks

log = structlog.get_logger()

MAX_UNKNOWN = 10_000
UNKNOWN_S = 10.0
"""A pod that the API server does not know is not asked for again so soon."""
EXPIRE_EVERY_S = 3600.0
RECORD_TTL_S = 30 * 86400.0
"""How long ended incidents and remediations can be read in the cluster."""
ACTIVE = (Phase.RUNNING, Phase.SUCCEEDED)


class Policies(Protocol):
    def all(self) -> tuple[Policy, ...]: ...


class KubernetesWorld:
    """Implements `run.cluster.world.World`. `own_namespace` is Intact's, where nothing is ever acted on."""

    def __init__(
        self,
        *,
        cache: ClusterCache,
        actuator: Actuator,
        objects: Objects,
        policies: Policies,
        summarize: Callable[[Incident], tuple[PathSummary, ...]],
        own_namespace: str,
    ) -> None:
        self._cache = cache
        self._actuator = actuator
        self._objects = objects
        self._policies = policies
        self._summarize = summarize
        self._own_namespace = own_namespace
        self._expire_at = 0.0
        self._not_before: dict[str, float] = {}
        self._unknown_until: dict[str, float] = {}

    def locate(self, container: Container, now: float) -> PodFacts:
        """From the cache, else from the API server: a node often speaks of a pod before its watch does. Never a pod of another node."""
        pod = container.pod
        if pod is None:
            workload = Workload(kind="Container", namespace="", name=container.name, uid=container.id)
            return PodFacts(uid=container.id, namespace="", name=container.name, node=container.node, labels=(), workload=workload)
        known = self._cache.facts(pod.uid)
        if known is not None:
            return known
        if now >= self._unknown_until.get(pod.uid, 0.0):
            found = self._actuator.read_pod(pod.namespace, pod.name)
            if found is not None and found.uid == pod.uid and found.node == container.node:
                return facts_of(found)
            if len(self._unknown_until) >= MAX_UNKNOWN:
                self._unknown_until.clear()
            self._unknown_until[pod.uid] = now + UNKNOWN_S
        # Only the node says that there is, or was, such a pod: nothing is shown in a namespace on its word alone.
        workload = Workload(kind="Pod", namespace="", name=f"{pod.namespace}/{pod.name}", uid=pod.uid)
        return PodFacts(
            uid=pod.uid, namespace=pod.namespace, name=pod.name, node=container.node, labels=(), workload=workload, is_ending=True
        )

    def node_of(self, pod_uid: str) -> str | None:
        return self._cache.node_of(pod_uid)

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        return tuple(facts_of(pod) for pod in self._cache.pods_on(node))

    def declared_on(self, node: str) -> Mapping[str, Mapping[str, str]]:
        return {pod.uid: {c.name: c.image for c in (*pod.init_containers, *pod.containers)} for pod in self._cache.pods_on(node)}

    def node_count(self) -> int:
        return self._cache.node_count()

    def pod_of(self, workload: Workload) -> PodFacts | None:
        return next((facts_of(pod) for pod in self._cache.pods_of(workload)), None)

    def policies(self) -> tuple[Policy, ...]:
        return self._policies.all()

    def facts(self, workload: Workload, now: float) -> WorkloadFacts:
        pods = tuple(pod for pod in self._cache.pods_of(workload) if not pod.finished)
        deployment = self._cache.deployment(workload.uid)
        revisions = self._cache.replica_sets_of(workload.uid)
        return WorkloadFacts(
            workload=workload,
            ready=deployment.ready if deployment else sum(pod.ready for pod in pods),
            desired=self._cache.wanted(workload),
            revision=revisions[0].hash if revisions else "",
            paused=deployment.paused if deployment else False,
            rolling_out=deployment.rolling_out if deployment else False,
            pods=tuple(PodState(uid=p.uid, name=p.name, node=p.node, revision=p.revision, ready=p.ready) for p in pods),
            managed_by=deployment.managed_by if deployment else "",
            own_namespace=self._own_namespace,
        )

    def revision_of(self, pod: PodFacts, records: Iterable[RevisionRecord], now: float) -> RevisionRecord | None:
        state = self._cache.pod(pod.uid)
        replica_set = self._cache.replica_set(state.owner.uid) if state is not None and state.owner is not None else None
        if state is None or replica_set is None or replica_set.owner is None:
            return None
        known = next((record for record in records if record.uid == replica_set.uid), None)
        return record_pod(known, state, replica_set, now)

    def advance(self, outcome: Outcome, target: RevisionRecord | None, looks: Looks, now: float) -> Outcome:
        decision = outcome.decision
        if outcome.phase in ACTIVE:
            pods, wanted = self._cache.pods_of(decision.workload), self._cache.wanted(decision.workload)
            verdicts = {pod.uid: looks.verdicts(pod.uid) for pod in pods}
            return verify(outcome, pods, verdicts, wanted=wanted, acted_at=decision.at, now=now)
        if now < self._not_before.get(decision.name, 0.0):
            return outcome
        try:
            self._objects.claim(decision)
        except PermanentError as error:
            return replace(outcome, phase=Phase.FAILED, message=str(error), at=now)
        done = perform(decision, self._actuator, record=target, now=now, wait=time.sleep)
        if isinstance(done, Later):
            self._not_before[decision.name] = now + done.after_s
            return replace(outcome, message=done.message)
        self._not_before.pop(decision.name, None)
        return done

    def publish_incident(self, incident: Incident, now: float) -> float:
        namespace = incident.workload.namespace or (self._own_namespace if incident.matters else "")
        if not namespace:
            return 0.0
        return _unless_gone(lambda: self._objects.put_incident(incident, self._summarize(incident), now, namespace=namespace))

    def publish_outcome(self, outcome: Outcome, now: float) -> float:
        if not outcome.decision.workload.namespace:
            return 0.0
        if outcome.phase is Phase.PROPOSED and outcome.message == outcome.decision.reason:
            return 0.0  # nobody has tried it yet

        def put() -> float:
            self._objects.claim(outcome.decision)
            return self._objects.put_outcome(outcome, now)

        return _unless_gone(put)

    def keep_house(self, now: float) -> None:
        """Records that ended long ago are deleted; the audit log keeps everything."""
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self._objects.expire(now, RECORD_TTL_S)
            self._objects.forget_before(now - RECORD_TTL_S)

    def publish_status(self, status: NodeStatus, now: float) -> float:
        return self._objects.put_node(status, now)


def _unless_gone(put: Callable[[], float]) -> float:
    """Nobody reads what is written into a namespace that is gone, or going: the audit log has it."""
    try:
        return put()
    except PermanentError as error:
        if error.code == "NotFound" or "is being terminated" in str(error):
            return 0.0
        raise
