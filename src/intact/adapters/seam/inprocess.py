"""The seam where node and cluster are one process (`intact watch`): the same gate as over the network, without the network."""

from __future__ import annotations

from collections.abc import Callable

from intact.adapters.seam.ports import ClusterSide, accept, deliverable
from intact.model.digest import Digest
from intact.model.seam import Command, Plan, Report


class InProcessCluster:
    """Implements `Cluster` for `node` by calling `cluster` directly. `clock` gives Unix seconds."""

    def __init__(self, cluster: ClusterSide, node: str, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._node = node
        self._clock = clock

    def submit(self, report: Report) -> None:
        accept(self._cluster, self._node, report)

    def fetch_plan(self, etag: str) -> Plan | None:
        plan = self._cluster.plan_for(self._node)
        return None if etag and plan.etag == etag else plan

    def fetch_baseline(self, key: Digest) -> bytes | None:
        return self._cluster.baseline_for(key)

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        return deliverable(self._cluster.commands_for(self._node, wait_s), self._node, self._clock())
