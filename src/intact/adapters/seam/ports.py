"""The one seam, seen from both sides, and the gate that every report passes whichever way it came.

`Cluster` is what a node sees: reports up; plan, baselines and commands down. `ClusterSide` is what the cluster offers to whoever carries
the seam: the web API after it has authenticated the node, or the in-process adapter. `accept` is the gate between them, so that both ways
check the same things. Nothing here knows HTTP, a token or a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import display_path
from intact.model.errors import TrustError
from intact.model.incident import Incident
from intact.model.seam import Command, NodeStatus, Plan, Report

FORGED = "ForgedReport"
"""The code of the TrustError that refuses a report in which a node speaks of what is not its own."""
UNAUTHENTICATED = "Unauthenticated"
UNTRUSTED_SERVER = "UntrustedServer"
"""Codes of TrustErrors about the two ends, not about what was sent: nothing is sent to an end that is not proven, and what was to be sent
is kept until it is (a new token, a rotated CA)."""


class Cluster(Protocol):
    """The cluster as a node sees it. Every method may raise TemporaryError (try later), PermanentError and TrustError."""

    def submit(self, report: Report) -> None:
        """Returns only when the cluster has stored `report`. Sending one twice counts once, by the ids of the report and its findings.
        Raises InputError, or TrustError with the code `ForgedReport`, when this report will never be taken."""

    def fetch_plan(self, etag: str) -> Plan | None:
        """The node's plan, or None if it is still the one called `etag`. An empty `etag` always fetches."""

    def fetch_baseline(self, key: Digest) -> bytes | None:
        """The signed document of the baseline of the image `key`, to be verified by the caller; None if the cluster has none (yet)."""

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        """Commands for this node that have not expired; waits up to `wait_s` seconds for the first. A command may come more than once."""


class ClusterSide(Protocol):
    """The cluster as the carriers of the seam see it. `node` is always proven by them. Called from several threads at once."""

    def receive(self, node: str, report: Report) -> None:
        """Stores `report`, then returns. Raises TemporaryError if it cannot be stored now."""

    def node_of(self, pod_uid: str) -> str | None:
        """The node that the cluster itself knows the pod to be on; None if it does not know the pod."""

    def forged(self, node: str, claim: str, reason: str) -> None:
        """`node` sent what is not its own to say: to be recorded and told. `claim` is from the report: not to be believed."""

    def plan_for(self, node: str) -> Plan: ...

    def baseline_for(self, key: Digest) -> bytes | None: ...

    def commands_for(self, node: str, wait_s: float) -> tuple[Command, ...]:
        """Commands for `node`, waiting up to `wait_s` seconds for the first; with 0 it returns at once and never blocks."""

    def when_commanded(self, call: Callable[[str], None]) -> None:
        """Registers `call(node)`, to be called from any thread as soon as there is a command for `node`. It returns quickly."""


class PeopleSide(Protocol):
    """What people may read of the cluster, after they were authorized. Called from several threads at once."""

    def status(self) -> tuple[NodeStatus, ...]: ...

    def incidents(self, namespace: str) -> tuple[Incident, ...]:
        """Of one namespace, or of all if `namespace` is empty; the newest first."""

    def incident(self, incident_id: str) -> Incident | None: ...

    def export_audit(self) -> Iterator[bytes]:
        """The log in its export format (see docs/formats), in chunks."""


def accept(cluster: ClusterSide, node: str, report: Report) -> None:
    """Takes a report of the proven `node`, or refuses it whole and raises the alarm.

    1. The report speaks as `node`. 2. So does every container in it. 3. No pod in it is known to be on another node. 4. It is stored.
    Raises TrustError with code `ForgedReport` for 1–3, whatever `ClusterSide.receive` raises for 4.
    """
    # 1
    if report.node != node:
        _refuse(cluster, node, f"node {report.node}", "the report names another node")
    spoken_of: tuple[Container, ...] = (
        *(v.container for v in report.verdicts),
        *(f.container for v in report.verdicts for f in v.findings),
        *(c.container for c in report.coverage or ()),
    )
    # 2
    for container in spoken_of:
        if container.node != node:
            _refuse(cluster, node, f"container {container.id} on node {container.node}", "a container of another node")
    # 3
    for pod_uid in {c.pod.uid for c in spoken_of if c.pod is not None}:
        known = cluster.node_of(pod_uid)
        if known is not None and known != node:
            _refuse(cluster, node, f"pod {pod_uid}", f"the pod is on node {known}")
    # 4
    cluster.receive(node, report)


def _refuse(cluster: ClusterSide, node: str, claim: str, reason: str) -> None:
    shown = display_path(claim.encode("utf-8", "surrogatepass"), 300)
    cluster.forged(node, shown, reason)
    raise TrustError(f"node {node} may not report on {shown}: {reason}", code=FORGED)


def deliverable(commands: tuple[Command, ...], node: str, now: float) -> tuple[Command, ...]:
    """Those of `commands` that are for `node` and have not expired at `now` (Unix seconds)."""
    return tuple(c for c in commands if c.node == node and now < c.expires_at)
