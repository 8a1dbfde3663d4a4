"""Installs Intact into a cluster of the harness, as its users do: image to a registry, chart by helm.

In: a running cluster. Out: the release `intact` in namespace `intact-system`, ready. Run again, it upgrades to the code as it is now.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import product
from lab.cluster import Cluster
from lab.progress import step
from lab.settings import REPOSITORY, LabError

CHART = REPOSITORY / "deploy/chart"
NAMESPACE = "intact-system"
RELEASE = "intact"
CONTROLLER_UID = 65532
TIMEOUT = "3m"


def install(cluster: Cluster, *, values: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> None:
    """Installs or upgrades Intact and waits until it is ready. `values`: more of the chart's, `arguments`: more of helm's."""
    if not CHART.exists():
        raise LabError(f"there is no chart in {CHART}")
    image = product.ensure_image()
    reference = image.push(cluster.registry, f"intact:{product.version()}")
    repository, _, digest = reference.partition("@")
    make_volume(cluster)
    settings = {
        "image.repository": repository,
        "image.tag": product.version(),
        "image.digest": digest,
        "registries.insecure[0]": cluster.registry,
        **(values or {}),
    }
    command = [str(cluster.binaries / "helm"), "upgrade", "--install", RELEASE, str(CHART)]
    command += ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", TIMEOUT]
    command += [f"--set-string={name}={value}" for name, value in settings.items()]
    with step("Intact in the cluster"):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=cluster.environment)
        if done.returncode:
            raise LabError(f"helm could not install Intact: {done.stderr.strip()}\n{_describe_failure(cluster)}")
        # helm's --wait lets a DaemonSet lack as many pods as may be unavailable during an update.
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/intact-agent", "--timeout=60s")


def _describe_failure(cluster: Cluster) -> str:
    pods = cluster.kubectl("-n", NAMESPACE, "get", "pods,events", check=False)
    selector = "--selector=app.kubernetes.io/name=intact"
    logs = cluster.kubectl("-n", NAMESPACE, "logs", selector, "--all-containers", "--prefix", "--tail=20", check=False)
    return f"{pods}\n{logs}"


def make_volume(cluster: Cluster) -> None:
    """A volume of node 1 that the controller's claim binds: a cluster of the harness has no storage provider."""
    path = cluster.make_volume("intact", uid=CONTROLLER_UID)
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "intact"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "10Gi"},
            "hostPath": {"path": str(path), "type": "Directory"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(volume))


def write_commands(cluster: Cluster) -> Path:
    """A directory with `intact` and `kubectl-intact` for the PATH: the code of this tree, in this environment."""
    directory, code = cluster.state / "bin", shlex.quote(str(REPOSITORY / "src"))
    directory.mkdir(exist_ok=True)
    for name in ("intact", "kubectl-intact"):
        script = directory / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH={code} exec {shlex.quote(sys.executable)} -m intact "$@"\n')
        script.chmod(0o755)
    return directory
