"""The harness's cluster is a real one, two of them do not meet, and nothing stays behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import cluster as lab_cluster
from lab import product
from lab.cgroups import find_groups
from lab.claim import remove_cluster
from lab.cluster import Cluster
from lab.images import busybox_image
from lab.plan import MAX_ID, bridge_name, cgroup_prefix, cluster_state
from lab.processes import find_by_argument
from lab.settings import REPOSITORY, LabError

SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def find_leftovers(id: int) -> list[str]:
    state = cluster_state(id)
    found = [str(state)] if state.exists() else []
    found += [str(path) for path in Path("/sys/class/net").glob(bridge_name(id) + "*")]
    found += [str(path) for path in find_groups(f"{cgroup_prefix(id)}[0-9]")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if any(str(state).encode() in word and not word.startswith(b"KUBECONFIG=") for word in arguments):
                found.append(entry.name)
        except OSError:
            continue  # it ended while we looked
    return found


def read_sysctls() -> list[str]:
    return [Path("/proc/sys", name).read_text() for name in SYSCTLS]


def run_pod(cluster: Cluster, name: str, image: str, *command: str, volume: Path | None = None, uid: int = 0) -> None:
    container: dict[str, object] = {"name": "main", "image": image, "command": list(command)}
    spec: dict[str, object] = {"terminationGracePeriodSeconds": 0, "securityContext": {"runAsUser": uid}}
    if volume:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "hostPath": {"path": str(volume), "type": "Directory"}}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {**spec, "containers": [container]},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def test_pods_run_find_services_by_name_and_reach_the_machine(cluster: Cluster, layout_directory: Path) -> None:
    image = busybox_image(layout_directory, "docker.io/local/pods:1", files={b"/www/index.html": b"served\n"})
    reference = image.push(cluster.registry, "local/pods:1")
    run_pod(cluster, "server", reference, "httpd", "-f", "-p", "8080", "-h", "/www")
    run_pod(cluster, "client", "registry.example/local/pods:1", "sleep", "1d")  # any registry name is the local one
    cluster.kubectl("expose", "pod", "server", "--port=80", "--target-port=8080")
    fetch = ("wget", "-q", "-O", "-", "http://server.default.svc.cluster.local/")
    for _ in range(20):  # until the proxy has the service
        answer = cluster.kubectl("exec", "client", "--", *fetch, check=False)
        if answer:
            break
        time.sleep(0.2)
    assert answer == "served\n"
    assert cluster.kubectl("exec", "client", "--", "ping", "-c", "1", "-W", "5", cluster.host_ip)
    image_id = cluster.kubectl("get", "pod", "server", "-o", "jsonpath={.status.containerStatuses[0].imageID}")
    assert image_id == f"{cluster.registry}/local/pods@{image.manifest_digest}"
    cluster.kubectl("delete", "pod,service", "server", "client", "--ignore-not-found", "--force", check=False)


def test_a_volume_belongs_to_the_user_it_was_made_for(cluster: Cluster, layout_directory: Path) -> None:
    path = cluster.make_volume("owned", uid=65532)
    image = busybox_image(layout_directory, "docker.io/local/volume:1").push(cluster.registry, "local/volume:1")
    write = "echo kept > /data/file; exec sleep 1d"
    run_pod(cluster, "writer", image, "sh", "-c", write, volume=path, uid=65532)
    assert (path / "file").read_text() == "kept\n"
    cluster.kubectl("delete", "pod", "writer", "--force", check=False)


def test_intact_runs_in_its_own_image_without_a_shell(cluster: Cluster) -> None:
    reference = product.ensure_image().push(cluster.registry, f"intact:{product.version()}")
    cluster.kubectl("run", "product", f"--image={reference}", "--restart=Never", "--", "--version")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/product", "--timeout=60s")
    assert product.version() in cluster.kubectl("logs", "product")
    cluster.kubectl("delete", "pod", "product")


def test_two_clusters_side_by_side_and_nothing_left(root: None) -> None:
    before = read_sysctls()
    with Cluster(nodes=2) as one, Cluster() as two:
        assert one.id != two.id
        assert len(one.kubectl("get", "nodes", "-o", "name").split()) == 2
        assert len(two.kubectl("get", "nodes", "-o", "name").split()) == 1
        assert one.run_on_node("hostname", node_number=2).returncode == 0
        ids = (one.id, two.id)
        assert all(find_leftovers(id) for id in ids)
    assert [find_leftovers(id) for id in ids] == [[], []]
    assert read_sysctls() == before


def test_a_failed_start_leaves_nothing_and_says_why(root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.nodefiles._containerd", lambda *_: "this is not TOML")
    own = Cluster()
    claimed: list[int] = []

    def remove(id: int) -> None:
        claimed.append(id)
        remove_cluster(id)

    monkeypatch.setattr(lab_cluster, "remove_cluster", remove)
    with pytest.raises(LabError, match="containerd ended with 1"):
        own.up()
    assert claimed and find_leftovers(claimed[-1]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing(root: None, number: signal.Signals) -> None:
    id = next(id for id in range(1, MAX_ID + 1) if not Path("/sys/class/net", bridge_name(id)).exists())
    script = f"from lab.cluster import Cluster\nwith Cluster(id={id}):\n    pass"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    starting = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    api_server = f"--token-auth-file={cluster_state(id)}/tokens.csv"
    while not find_by_argument(api_server):
        assert starting.poll() is None
    starting.send_signal(number)
    assert starting.wait(timeout=20) != 0
    assert find_leftovers(id) == []


def test_an_id_that_is_taken_is_refused(cluster: Cluster) -> None:
    with pytest.raises(LabError, match="is up already"):
        Cluster(id=cluster.id).up()
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
