"""Names, addresses and directories of a cluster and its nodes, all derived from one number.

In: the cluster's id, its number of nodes, its state directory. Out: every name the harness uses for them.
Never looks at the machine. Clusters with different ids share no address, link, cgroup or directory.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lab.settings import LabError, state_dir

MAX_ID = 5
MAX_NODES = 8
API_SERVICE_IP = "10.96.0.1"
SERVICE_RANGE = "10.96.0.0/16"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """A cluster: the machine is .1 of its network, node n is .(n+1), node 1 has the control plane and the registry."""

    id: int
    nodes: int
    state: Path
    binaries: Path
    runtime: Path | None = None
    """Where containerd and runc are, if not the machine's own."""

    @property
    def bridge(self) -> str:
        return bridge_name(self.id)

    @property
    def network(self) -> str:
        return f"10.{250 - self.id}.0"

    @property
    def host_ip(self) -> str:
        return f"{self.network}.1"

    @property
    def api_ip(self) -> str:
        return f"{self.network}.2"

    @property
    def registry(self) -> str:
        return f"{self.api_ip}:5000"

    @property
    def pod_range(self) -> str:
        return f"10.{244 - self.id}.0.0/16"

    @property
    def search_path(self) -> str:
        """PATH on its nodes."""
        own = f"{self.runtime}:" if self.runtime else ""
        return f"{own}{self.binaries}:/usr/sbin:/usr/bin:/sbin:/bin"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def every_node(self) -> list["NodePlan"]:
        return [NodePlan(cluster=self, number=number) for number in range(1, self.nodes + 1)]

    def node(self, number: int) -> "NodePlan":
        if not 1 <= number <= self.nodes:
            raise LabError(f"there is no node {number}: this cluster has {self.nodes}")
        return NodePlan(cluster=self, number=number)

    def save(self) -> None:
        runtime = str(self.runtime) if self.runtime else None
        values = {"id": self.id, "nodes": self.nodes, "binaries": str(self.binaries), "runtime": runtime}
        (self.state / "plan.json").write_text(json.dumps(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    cluster: ClusterPlan
    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def ip(self) -> str:
        return f"{self.cluster.network}.{self.number + 1}"

    @property
    def pod_range(self) -> str:
        return f"10.{244 - self.cluster.id}.{self.number - 1}.0/24"

    @property
    def cgroup(self) -> str:
        return f"{cgroup_prefix(self.cluster.id)}{self.number}"

    @property
    def host_link(self) -> str:
        return f"{self.cluster.bridge}n{self.number}"

    @property
    def state(self) -> Path:
        return self.cluster.state / self.name


def bridge_name(cluster_id: int) -> str:
    return f"intact{cluster_id}"


def cgroup_prefix(cluster_id: int) -> str:
    return f"intact{cluster_id}n"


def cluster_state(cluster_id: int) -> Path:
    return state_dir() / f"lab{cluster_id}"


def load_plan(state: Path) -> ClusterPlan:
    """The plan of the cluster that lives in `state`; LabError when there is none."""
    try:
        values = json.loads((state / "plan.json").read_text())
    except FileNotFoundError:
        raise LabError(f"no cluster in {state}: start one with `make cluster` or `python -m lab up`") from None
    return ClusterPlan(
        id=values["id"],
        nodes=values["nodes"],
        state=state,
        binaries=Path(values["binaries"]),
        runtime=Path(values["runtime"]) if values["runtime"] else None,
    )
