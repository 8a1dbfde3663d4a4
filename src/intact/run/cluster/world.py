"""What the cluster flow needs to know of where containers run, and what it may do there: Kubernetes, or one host without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from intact.model.container import Container
from intact.model.facts import WorkloadFacts
from intact.model.incident import Incident, Outcome, PodFacts, Workload
from intact.model.policy import Policy
from intact.model.revision import RevisionRecord
from intact.model.seam import NodeStatus

from .looks import Looks


class World(Protocol):
    """Called with the flow's lock held, except for `advance` and the `publish_*` methods, which may take their time."""

    def locate(self, container: Container, now: float) -> PodFacts:
        """Whose container it is. One that nobody knows (any more) belongs to itself."""

    def node_of(self, pod_uid: str) -> str | None:
        """The node the pod is on, as the cluster says; None if it does not know the pod."""

    def pods_on(self, node: str) -> tuple[PodFacts, ...]: ...

    def declared_on(self, node: str) -> Mapping[str, Mapping[str, str]]:
        """The pods on `node`, by UID: the image that each container declares, by the container's name."""

    def node_count(self) -> int:
        """How many nodes there are."""

    def pod_of(self, workload: Workload) -> PodFacts | None:
        """One of the workload's pods, if there is any: what its policy is chosen by."""

    def policies(self) -> tuple[Policy, ...]: ...

    def facts(self, workload: Workload, now: float) -> WorkloadFacts:
        """What the world itself knows: pods, readiness, revision, rollout. What was seen and done before is added by the flow."""

    def revision_of(self, pod: PodFacts, records: Iterable[RevisionRecord], now: float) -> RevisionRecord | None:
        """The record of the pod's revision, brought up to the digests that really run, out of `records` or new; None where it has none."""

    def advance(self, outcome: Outcome, target: RevisionRecord | None, looks: Looks, now: float) -> Outcome:
        """One step on the way of an action, or `outcome` itself while there is nothing new. `target` is what is remembered of the revision
        that a RollBack goes to, `looks` what was seen of its pods. Raises TemporaryError: try again."""

    def publish_incident(self, incident: Incident, now: float) -> float:
        """Shows it to people. Returns 0, or in how many seconds to call again: what changes often is not written each time."""

    def publish_outcome(self, outcome: Outcome, now: float) -> float: ...

    def keep_house(self, now: float) -> None:
        """What has to be done now and then, about once a minute."""

    def publish_status(self, status: NodeStatus, now: float) -> float: ...
