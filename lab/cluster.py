"""A real Kubernetes cluster of one or more nodes on this machine.

In: how many nodes, and an id that keeps clusters apart. Out: a running cluster, its kubeconfig, its registry.
Never leaves anything behind: not after `down`, not after a failed or interrupted `up`.

Everything of a node runs below one init in namespaces of its own, so going down is killing that init: the kernel ends every process,
mount, address and rule. What remains outside, and is removed here: the bridge, the control groups, the state directory, and the
mount points made for the nodes.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import mountpoints, node
from lab.api import ApiReader
from lab.binaries import ensure_binaries, ensure_newer_runtime, ensure_pause
from lab.claim import claim, is_running, remove_cluster
from lab.layers import build_tar, file
from lab.nodefiles import PAUSE_IMAGE, write_cluster_files
from lab.oci import pack_layer, write_layout
from lab.pki import write_credentials
from lab.plan import MAX_ID, MAX_NODES, ClusterPlan, cluster_state, load_plan
from lab.processes import run, started_at, terminate_as_interrupt, uninterrupted
from lab.settings import LabError

UP_TIMEOUT_S = 180.0


class Cluster:
    """`with Cluster(nodes=1) as cluster:` starts one and takes it down; `Cluster.running(id)` finds one that is up.

    Without an id the first free one is taken, from the highest down, so tests and `make cluster` (0) do not meet.
    """

    def __init__(self, *, nodes: int = 1, id: int | None = None, newer_runtime: bool = False) -> None:
        """`newer_runtime`: containerd and runc are built, newer than the machine's."""
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"a cluster has 1 to {MAX_NODES} nodes, not {nodes}")
        if id is not None and not 0 <= id <= MAX_ID:
            raise LabError(f"a cluster's id is 0 to {MAX_ID}, not {id}")
        self._wanted_id, self._nodes, self._newer_runtime = id, nodes, newer_runtime
        self._plan: ClusterPlan | None = None
        self._at_exit = contextlib.ExitStack()

    @classmethod
    def running(cls, id: int = 0) -> Self:
        plan = load_plan(cluster_state(id))
        found = cls(nodes=plan.nodes, id=plan.id)
        found._plan = plan
        if not is_running(id):
            raise LabError(f"cluster {id} does not run any more: `python -m lab down --id {id}`, then `up`")
        return found

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(terminate_as_interrupt())
            self.up(owner=os.getpid())
            stack.callback(self.down)
            self._at_exit = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._at_exit.close()

    @property
    def plan(self) -> ClusterPlan:
        if self._plan is None:
            raise LabError("this cluster is not up")
        return self._plan

    @property
    def id(self) -> int:
        return self.plan.id

    @property
    def state(self) -> Path:
        return self.plan.state

    @property
    def kubeconfig(self) -> Path:
        return self.plan.kubeconfig

    @property
    def registry(self) -> str:
        """HOST:PORT of the cluster's registry (plain HTTP), the same from the machine, the nodes and the pods."""
        return self.plan.registry

    @property
    def host_ip(self) -> str:
        """The machine's address as the nodes and pods see it."""
        return self.plan.host_ip

    @property
    def binaries(self) -> Path:
        return self.plan.binaries

    @property
    def environment(self) -> dict[str, str]:
        """The process environment in which kubectl and helm talk to this cluster."""
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "REGISTRY": self.registry,
            "PATH": f"{self.binaries}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        }

    def up(self, *, owner: int | None = None) -> None:
        """Starts the cluster and returns when every node is Ready. `owner`: the process whose end ends its use."""
        runtime = ensure_newer_runtime() if self._newer_runtime else None
        self._plan = claim(self._wanted_id, self._nodes, ensure_binaries(), runtime)
        try:
            with terminate_as_interrupt():
                if owner:
                    (self.state / "owner").write_text(f"{owner} {started_at(owner)}")
                self._start()
                self._wait_ready()
                _give_to_caller(self.kubeconfig)
        except BaseException:
            with uninterrupted():
                self.down()
            raise

    def down(self) -> None:
        with uninterrupted():
            remove_cluster(self.plan.id)
            self._plan = None

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Runs kubectl and returns what it printed; LabError with its message when it fails and `check` is set."""
        done = subprocess.run(
            [str(self.binaries / "kubectl"), *arguments],
            input=input,
            capture_output=True,
            text=True,
            env=self.environment,
        )
        if check and done.returncode:
            raise LabError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def run_on_node(self, *command: str, node_number: int = 1, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in a node's namespaces."""
        words = [*node.enter_command(self.plan.node(node_number)), *command]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.environment)
        if check and done.returncode:
            raise LabError(f"{' '.join(command)} on node{node_number}: {done.stderr.strip()}")
        return done

    def import_image(self, archive: Path, *, node_number: int = 1) -> None:
        """Puts an image archive straight into a node's containerd (its imageID is then the bare config digest)."""
        self.run_on_node("ctr", "-n", "k8s.io", "images", "import", str(archive), node_number=node_number)

    def make_volume(self, name: str, *, uid: int, node_number: int = 1) -> Path:
        """An empty directory of user `uid` on a node, for a hostPath PersistentVolume; gone with the cluster."""
        path = self.plan.node(node_number).state / "volumes" / name
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, uid, uid)
        return path

    def _start(self) -> None:
        plan = self.plan
        write_credentials(plan)
        write_cluster_files(plan)
        program = file(b"/pause", ensure_pause().read_bytes(), 0o755)
        pause = pack_layer(build_tar([program]), plan.state / "pause")
        layout = write_layout(plan.state / "pause", PAUSE_IMAGE, [pause], entrypoint=["/pause"], user="65535:65535")
        layout.pack_archive(plan.state / "pause.tar")
        run("ip", "address", "add", f"{plan.host_ip}/24", "dev", plan.bridge)
        run("ip", "link", "set", plan.bridge, "up")
        _load_bridge_filter()
        mountpoints.make(plan.id)
        for one in plan.every_node:
            node.start_node(one)

    def _wait_ready(self) -> None:
        plan, api = self.plan, ApiReader(self.kubeconfig)
        deadline = time.monotonic() + UP_TIMEOUT_S
        while not _is_usable(api, plan.nodes):
            failed = "".join(node.failures(one) for one in plan.every_node)
            if failed or len(node.node_processes(plan.state)) < 2 * plan.nodes:
                logs = "".join((one.state / "log/init.log").read_text()[-1500:] for one in plan.every_node)
                raise LabError(f"a node does not start: {failed}{logs}")
            if time.monotonic() > deadline:
                raise LabError(f"the nodes are not Ready after {UP_TIMEOUT_S:.0f} s")
            time.sleep(0.1)
        binding = ("create", "clusterrolebinding", "lab-proxy", "--clusterrole=system:node-proxier")
        self.kubectl(*binding, "--user=system:kube-proxy")


def _is_usable(api: ApiReader, nodes: int) -> bool:
    if api.get("/api/v1/namespaces/default/serviceaccounts/default") is None:
        return False
    listed = api.get("/api/v1/nodes")
    conditions = [c for item in (listed or {}).get("items", []) for c in item["status"].get("conditions", [])]
    ready = [c for c in conditions if c["type"] == "Ready" and c["status"] == "True"]
    return len(ready) == nodes


def _give_to_caller(path: Path) -> None:
    """Through sudo, the file belongs to whoever called it."""
    if user := os.environ.get("SUDO_UID"):
        os.chown(path, int(user), int(os.environ.get("SUDO_GID", "-1")))


def _load_bridge_filter() -> None:
    """Services between pods of one node need br_netfilter; where it is not loaded, it is, and stays off on the machine."""
    settings = Path("/proc/sys/net/bridge")
    if settings.exists() or not shutil.which("modprobe"):
        return
    if subprocess.run(["modprobe", "br_netfilter"], capture_output=True).returncode == 0:
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"):
            if (settings / name).exists():
                (settings / name).write_text("0")


def describe_environment(plan: ClusterPlan, tools: Sequence[Path] = ()) -> str:
    """Lines to evaluate in a shell, so that kubectl and helm talk to this cluster."""
    path = ":".join(str(directory) for directory in (*tools, plan.binaries))
    return f'export KUBECONFIG={plan.kubeconfig}\nexport REGISTRY={plan.registry}\nexport PATH={path}:"$PATH"'
