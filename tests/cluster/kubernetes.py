"""What the tests of the Kubernetes adapter share: clients, the chart, a namespace each, small Deployments from the local registry."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User

from intact.adapters.cluster.api import Api
from lab.cluster import Cluster
from lab.images import busybox_image
from lab.settings import REPOSITORY

CHART = REPOSITORY / "deploy/chart"
NAMESPACE = "intact-system"
PLACEHOLDER = "none.invalid/intact"

T = TypeVar("T")


def helm(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(cluster.binaries / "helm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=cluster.environment)


def install_chart(cluster: Cluster) -> None:
    """Definitions, rights and admission of the chart, unless Intact is installed already. Its pods wait for an image that is not there."""
    if helm(cluster, "status", "intact", "-n", NAMESPACE).returncode == 0:
        return
    options = ["--namespace", NAMESPACE, "--create-namespace", "--set", f"image.repository={PLACEHOLDER}"]
    done = helm(cluster, "install", "intact", str(CHART), *options, "--set", "persistence.enabled=false")
    assert done.returncode == 0, done.stderr
    plurals = ("integritypolicies", "clusterintegritypolicies", "integrityincidents", "remediations", "nodeintegrities", "imagebaselines")
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{p}.intact.dev" for p in plurals))


def admin(cluster: Cluster) -> Api:
    return Api(KubeConfig.from_file(str(cluster.kubeconfig)))


def as_controller(cluster: Cluster) -> Api:
    """With the rights of the controller's service account, and no more."""
    config = KubeConfig.from_file(str(cluster.kubeconfig))
    token = cluster.kubectl("create", "token", "intact-controller", "-n", NAMESPACE).strip()
    where = next(iter(config.clusters.values()))
    return Api(KubeConfig.from_one(cluster=where, user=User(token=token), namespace=NAMESPACE))


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Images:
    """Two versions of one small image in the cluster's registry, by tag and by digest."""

    tags: tuple[str, str]
    digests: tuple[str, str]


def push_images(cluster: Cluster, directory: Path) -> Images:
    name = f"intact-tests/{uuid.uuid4().hex[:8]}"
    tags, digests = [], []
    for version in ("1", "2"):
        layout = busybox_image(directory / version, f"{cluster.registry}/{name}:{version}", files={b"/etc/version": version.encode()})
        digests.append(layout.push(cluster.registry, f"{name}:{version}"))
        tags.append(f"{cluster.registry}/{name}:{version}")
    return Images((tags[0], tags[1]), (digests[0], digests[1]))


def deployment(name: str, namespace: str, image: str, *, replicas: int = 2, **spec: Any) -> dict[str, Any]:
    container = {"name": "web", "image": image}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def roll_out(cluster: Cluster, described: dict[str, Any]) -> None:
    """Applies a Deployment and waits until nothing but its own pods is left."""
    apply(cluster, described)
    name, namespace = described["metadata"]["name"], described["metadata"]["namespace"]
    cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=90s")


def eventually(ask: Callable[[], T | None], timeout_s: float = 30.0) -> T:
    """The first answer that is something: not None, not False, nothing empty."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {getattr(ask, '__name__', ask)}"
        time.sleep(0.1)
