"""What people may read of the controller through its API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from intact.audit.export import export_log
from intact.model.incident import Incident
from intact.model.seam import NodeStatus
from intact.run.storage.memory import ClusterState

MOST_INCIDENTS = 500


class Statuses(Protocol):
    def status(self) -> tuple[NodeStatus, ...]:
        """What every node said last."""


class People:
    """Implements `adapters.seam.ports.PeopleSide`."""

    def __init__(self, flow: Statuses, state: ClusterState) -> None:
        self._flow, self._state = flow, state

    def status(self) -> tuple[NodeStatus, ...]:
        return self._flow.status()

    def incidents(self, namespace: str) -> tuple[Incident, ...]:
        recent = self._state.memory.incidents.list_recent(MOST_INCIDENTS)
        return tuple(i for i in recent if not namespace or i.workload.namespace == namespace)

    def incident(self, incident_id: str) -> Incident | None:
        return self._state.memory.incidents.get(incident_id)

    def export_audit(self) -> Iterator[bytes]:
        return export_log(self._state.leaves)[1]
