"""The cluster the demo plays on: one of the harness, or the one that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from demo.story import Broken
from lab import install, product
from lab.cluster import Cluster
from lab.oci import ImageLayout


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, its registry (HOST:PORT, plain HTTP), and this machine's address as its pods see it."""

    environment: Mapping[str, str]
    registry: str
    host_ip: str
    cluster: Cluster | None

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        return self._run("kubectl", *arguments, input=input, check=check)

    def apply(self, *objects: Mapping[str, object]) -> None:
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def push(self, image: ImageLayout, repository: str) -> str:
        """Pushes an image and returns its name by digest."""
        return image.push(self.registry, repository)

    def install(self, values: Mapping[str, str]) -> None:
        """Installs Intact by its chart, or upgrades what is there to this tree's."""
        if self.cluster is not None:
            install.install(self.cluster, values=values)
            return
        repository, _, digest = self.push(product.ensure_image(), f"intact:{product.version()}").partition("@")
        settings = {"image.repository": repository, "image.digest": digest, **values}
        command = ["upgrade", "--install", "intact", str(install.CHART), "-n", install.NAMESPACE, "--create-namespace", "--wait"]
        self._run("helm", *command, "--timeout", "5m", *(f"--set-string={name}={value}" for name, value in settings.items()))
        self.kubectl("-n", install.NAMESPACE, "rollout", "status", "daemonset/intact-agent", "--timeout=120s")

    def _run(self, *command: str, input: str | None = None, check: bool = True) -> str:
        done = subprocess.run(command, input=input, capture_output=True, text=True, env=dict(self.environment))
        if check and done.returncode:
            raise Broken(f"{' '.join(command[:6])}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def open_target(which: str) -> Iterator[Target]:
    """`current`: the cluster of KUBECONFIG, with REGISTRY naming a registry that its nodes pull from by plain HTTP. Else one of our own."""
    if which != "current":
        with Cluster(nodes=1) as cluster:
            yield Target(cluster.environment, cluster.registry, cluster.host_ip, cluster)
        return
    for name in ("KUBECONFIG", "REGISTRY"):
        if not os.environ.get(name):
            raise Broken(f"CLUSTER=current needs {name} in the environment (`make cluster` prints both for a cluster of the harness)")
    target = Target(os.environ, os.environ["REGISTRY"], "", None)
    server = target.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    yield Target(os.environ, os.environ["REGISTRY"], _address_towards(server), None)


def _address_towards(url: str) -> str:
    """This machine's address on the way to the API server (no packet is sent: connecting a UDP socket only chooses a route)."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "", parts.port or 443))
        address: str = probe.getsockname()[0]
        return address
