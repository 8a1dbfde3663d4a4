"""Configuration of everything that runs on a node.

In: a node's plan. Out: files in its state directory. Never starts anything. Why each unusual setting is there stands beside it.
"""

import json
import shutil
import subprocess

from lab.plan import ClusterPlan, NodePlan
from lab.settings import LabError

PAUSE_IMAGE = "docker.io/local/pause:1"
STATIC_PODS = "static-pods"
"""Where the kubelet looks for pods that no API server knows of, below a node's state."""
PERSISTENT = ("var/lib/containerd", "var/lib/kubelet", "var/lib/cni", "var/lib/intact", "var/log/pods", "var/log/containers")
# What a kubelet sets for the whole machine: it finds files that hold these values already, and writes nothing.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def write_cluster_files(plan: ClusterPlan) -> None:
    storage = {"filesystem": {"rootdirectory": str(plan.state / "registry")}, "delete": {"enabled": True}}
    registry = {"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": {"addr": plan.registry}}
    (plan.state / "registry.yml").write_text(json.dumps(registry))


def write_node_files(node: NodePlan) -> None:
    """Writes the node's files. Every file is JSON where its reader takes YAML: JSON is YAML."""
    state = node.state
    for directory in ("cni", "log", STATIC_PODS, "sysctl", "volumes", *PERSISTENT):
        (state / directory).mkdir(parents=True, exist_ok=True)
    (state / "containerd.toml").write_text(_containerd(node))
    for registry in ("_default", node.cluster.registry):
        hosts = state / "certs.d" / registry / "hosts.toml"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(_mirror(node.cluster.registry))
    (state / "cni/10-lab.conflist").write_text(json.dumps(_network(node)))
    (state / "kubelet.yaml").write_text(json.dumps(_kubelet(node)))
    (state / "proxy.yaml").write_text(json.dumps(_proxy(node)))
    (state / "resolv.conf").write_text("")
    for name, value in KUBELET_SYSCTLS.items():
        path = state / "sysctl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")


def containerd_version(cluster: ClusterPlan) -> tuple[int, ...]:
    """The version of the nodes' containerd, for example (1, 6, 20)."""
    program = shutil.which("containerd", path=cluster.search_path) or "containerd"
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise LabError(f"containerd does not run ({error}): `make tools` installs it") from error
    version = answer.split()[2].lstrip("v").partition("~")[0].partition("-")[0].partition("+")[0]
    return tuple(int(part) for part in version.split("."))


def _containerd(node: NodePlan) -> str:
    # Without CAP_SYS_RESOURCE every sandbox fails unless restrict_oom_score_adj is set.
    # The /opt plugin is moved so that it makes no directory on the machine.
    common = """root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
"""
    certificates = f'config_path = "{node.state}/certs.d"'
    if containerd_version(node.cluster) >= (2,):
        return f"""version = 3
{common}
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{node.state}/cni"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    {certificates}
"""
    return f"""version = 2
{common}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node.state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".registry]
    {certificates}
"""


def _mirror(registry: str) -> str:
    """Every registry name is served by the local one. containerd 1.6 honours `server` only beside a [host] section."""
    server = f"http://{registry}"
    return f'server = "{server}"\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'


def _network(node: NodePlan) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": node.pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, ports]}


def _kubelet(node: NodePlan) -> dict[str, object]:
    pki = node.cluster.state / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / f"kubelet{node.number}.crt"),
        "tlsPrivateKeyFile": str(pki / f"kubelet{node.number}.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "staticPodPath": str(node.state / STATIC_PODS),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/" + node.cgroup,
        "failCgroupV1": False,  # on a cgroup v1 machine the kubelet would exit
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,  # a lower one needs CAP_SYS_RESOURCE
        "clusterDNS": [node.cluster.api_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": str(node.state / "resolv.conf"),
        "volumePluginDir": "/run/kubelet-plugins",  # the default is made on the machine
        "syncFrequency": "5s",
        "fileCheckFrequency": "5s",
        "nodeStatusUpdateFrequency": "4s",
        "shutdownGracePeriod": "0s",
    }


def _proxy(node: NodePlan) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(node.cluster.state / "proxy.kubeconfig")},
        "clusterCIDR": node.cluster.pod_range,
        "hostnameOverride": node.name,
        "oomScoreAdj": 0,
        # Connection tracking limits cannot be written outside the machine's first network namespace.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
