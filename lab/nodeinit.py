"""Process 1 of a node: `python -m lab.nodeinit STATE NUMBER`, in mount, network and PID namespaces of its own.

In: the plan in STATE. Out: a running node. Everything the node starts, mounts or configures belongs to these namespaces, so killing
this process ends all of it. Never runs in the machine's own namespaces.

Procedure:
1. the file system: a private /run, and the node's directories over the runtime's and the kubelet's default paths
2. the network: address, routes to the other nodes' pods
3. containerd, and on node 1 the control plane and the registry
4. controllers, kubelet and proxy once the API is ready
5. reap what ends
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.api import ApiReader
from lab.nodefiles import KUBELET_SYSCTLS, PERSISTENT
from lab.plan import MAX_NODES, SERVICE_RANGE, NodePlan, load_plan
from lab.processes import run
from lab.settings import REPOSITORY

POLL_S = 0.03


class NodeInit:
    def __init__(self, node: NodePlan) -> None:
        self.node = node
        self.state = node.cluster.state
        self.binaries = node.cluster.binaries
        self.names: dict[int, str] = {}
        self.environment = {
            "PATH": node.cluster.search_path,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def serve(self) -> None:
        self.mount_directories()  # 1
        self.configure_network()  # 2
        self.start("containerd", "containerd", "--config", self.node.state / "containerd.toml")  # 3
        if self.node.number == 1:
            self.start_control_plane()
        while not self._containerd_answers():
            self.reap_ended(block=False)
            time.sleep(POLL_S)
        run("ctr", "-n", "k8s.io", "images", "import", self.state / "pause.tar", env=self.environment)
        api = ApiReader(self.state / "admin.kubeconfig")
        while not api.is_ready():  # 4: the controller manager exits while RBAC's bootstrap roles are missing
            self.reap_ended(block=False)
            time.sleep(POLL_S)
        if self.node.number == 1:
            self.start_controllers()
        self.start_kubelet()
        self.start("proxy", self.binaries / "kube-proxy", f"--config={self.node.state}/proxy.yaml")
        while True:
            self.reap_ended(block=True)  # 5

    def _containerd_answers(self) -> bool:
        if not Path("/run/containerd/containerd.sock").exists():
            return False  # without a socket the client would try for 10 s
        return subprocess.run(["ctr", "version"], capture_output=True, env=self.environment).returncode == 0

    def mount_directories(self) -> None:
        run("mount", "--make-rshared", "/")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for name in ("lock", "netns"):
            Path("/run", name).mkdir()
        for name in PERSISTENT:
            run("mount", "--bind", self.node.state / name, Path("/", name))
        run("mount", "--make-rshared", "/")  # the new ones, too: mount propagation into pods needs it

    def configure_network(self) -> None:
        node, cluster = self.node, self.node.cluster
        while subprocess.run(["ip", "link", "show", "uplink"], capture_output=True).returncode:
            time.sleep(POLL_S)
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{node.ip}/24", "dev", "uplink")
        run("ip", "link", "set", "uplink", "up")
        run("ip", "route", "add", "default", "via", cluster.host_ip)
        for name, value in (
            ("net/ipv4/ip_forward", "1"),
            ("net/bridge/bridge-nf-call-iptables", "1"),
            ("net/ipv6/conf/all/disable_ipv6", "1"),
        ):
            if (path := Path("/proc/sys", name)).exists():
                path.write_text(value)
        for other in (NodePlan(cluster=cluster, number=number) for number in range(1, MAX_NODES + 1)):
            if other.number != node.number:
                run("ip", "route", "add", other.pod_range, "via", other.ip)

    def start(self, name: str, *command: str | Path) -> None:
        with (self.node.state / f"log/{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, cwd="/")
        self.names[process.pid] = name

    def start_control_plane(self) -> None:
        pki, plan = self.state / "pki", self.node.cluster
        etcd = "http://127.0.0.1:2379"
        self.start(
            "etcd",
            self.binaries / "etcd",
            "--data-dir=/run/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        )
        self.start("registry", "docker-registry", "serve", self.state / "registry.yml")
        self.start(
            "apiserver",
            self.binaries / "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={plan.api_ip}",
            "--secure-port=6443",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={self.state}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.key",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        )

    def start_controllers(self) -> None:
        pki = self.state / "pki"
        self.start(
            "controller-manager",
            self.binaries / "kube-controller-manager",
            *self._identity("manager"),
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials=true",
            "--kube-api-qps=200",  # the default makes the service account of a new namespace 5 to 15 s late
            "--kube-api-burst=400",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
        )
        self.start("scheduler", self.binaries / "kube-scheduler", *self._identity("scheduler"))
        self.start("dns", sys.executable, "-m", "lab.dns", self.state)

    def _identity(self, name: str) -> Iterator[str]:
        yield "--leader-elect=false"
        for flag in ("--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"):
            yield f"{flag}={self.state}/{name}.kubeconfig"

    def start_kubelet(self) -> None:
        """Starts the kubelet in a mount namespace of its own, where it cannot change the machine's sysctls.

        Mounts over the runtime's own /proc would forbid user-namespaced pods, so only the kubelet sees them.
        """
        script = "mount --make-private /proc"
        for name in KUBELET_SYSCTLS:
            if Path("/proc/sys", name).exists():
                script += f" && mount --bind '{self.node.state}/sysctl/{name}' /proc/sys/{name}"
        self.start(
            "kubelet",
            "unshare",
            "--mount",
            "--propagation=unchanged",
            *("sh", "-c", script + ' && exec "$@"', "sh"),
            self.binaries / "kubelet",
            f"--config={self.node.state}/kubelet.yaml",
            f"--kubeconfig={self.state}/kubelet{self.node.number}.kubeconfig",
            f"--hostname-override={self.node.name}",
            f"--node-ip={self.node.ip}",
        )

    def reap_ended(self, *, block: bool) -> None:
        """Reaps one process, orphans of the shims included, and notes when it was one of the node's own."""
        pid, status = os.waitpid(-1, 0 if block else os.WNOHANG) if self.names else (0, 0)
        if name := self.names.pop(pid, None):
            code = os.waitstatus_to_exitcode(status)
            with (self.node.state / "log/exits.log").open("a") as log:
                log.write(f"{name} ended with {code}\n")


@contextmanager
def report_failure(node: NodePlan) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with (node.state / "log/exits.log").open("a") as log:
            log.write(f"init failed: {error}\n")
        raise


def main() -> None:
    node = load_plan(Path(sys.argv[1])).node(int(sys.argv[2]))
    with report_failure(node):
        NodeInit(node).serve()


if __name__ == "__main__":
    main()
