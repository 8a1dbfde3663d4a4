"""Intact installed in a real cluster, and a namespace of a test's own in it: what people do there, and what Intact then says.

In: a cluster with the chart, receivers of its alerts. Out: the objects people read, decoded, and nothing of Intact's insides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from demo.receivers import Receivers
from lab.cluster import Cluster
from lab.images import busybox_image
from tests.cluster.kubernetes import apply, deployment, eventually

Object = dict[str, Any]
T = TypeVar("T")

SYSTEM = "intact-system"
PATIENCE_S = 90.0
PAGE = "/srv/site/index.html"
ENDED = ("Verified", "Failed", "Refused")
ROLL_BACK = [{"when": {"level": "Medium"}, "do": ["RollBack"]}]
INSIDE = ("/usr/bin/python3", "-IB", "-m", "intact")


@dataclass(frozen=True)
class Image:
    """An image in the cluster's registry: its name by tag and by digest, and the digest of its configuration."""

    tag: str
    digest: str
    config: str


@dataclass(frozen=True)
class Installed:
    """Intact in a cluster, and where its alerts go."""

    cluster: Cluster
    receivers: Receivers
    directory: Path

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl(*arguments, input=input, check=check)

    def read(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def push(self, version: str, **more: Any) -> Image:
        """A small image that shows `version` on its page; `more` as `busybox_image` takes it."""
        name = f"shop-{uuid.uuid4().hex[:8]}:{version}"
        files = {PAGE.encode(): f"shop {version}\n".encode(), b"/etc/version": f"{version}\n".encode()}
        layout = busybox_image(self.directory / name.replace(":", "-"), f"{self.cluster.registry}/{name}", files=files, **more)
        return Image(tag=layout.name, digest=layout.push(self.cluster.registry, name), config=layout.config_digest)

    def intact(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`intact` as people call it, with kubectl and this cluster's kubeconfig."""
        command = [sys.executable, "-m", "intact", *arguments]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.cluster.environment)

    def recorded(self, kind: str, workload: str = "") -> list[Object]:
        """Leaves of the audit log, read in the controller's pod; `workload` as `namespace/name`."""
        words = ("audit", "show", "--output", "jsonl", "--kind", kind, *(("--workload", workload) if workload else ()))
        done = self.kubectl("-n", SYSTEM, "exec", "deploy/intact-controller", "-c", "controller", "--", *INSIDE, *words)
        return [json.loads(line) for line in done.splitlines()]

    def covered(self) -> dict[str, Object]:
        """What the nodes say of each container, by `namespace/pod/container`."""
        nodes = self.read("nodeintegrities")["items"]
        return {one["container"]: one for node in nodes for one in node.get("status", {}).get("containers", [])}

    def agent_on(self, node: str) -> Object:
        selector = "app.kubernetes.io/component=agent"
        pods = self.read("pods", "-n", SYSTEM, "-l", selector, f"--field-selector=spec.nodeName={node}")["items"]
        (running,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return dict(running)

    def node_number(self, node: str) -> int:
        return next(one.number for one in self.cluster.plan.every_node if one.name == node)

    @contextmanager
    def without_controller(self) -> Iterator[None]:
        """The controller is gone in the block, and ready again after it."""
        self.scale_controller(0)
        try:
            yield
        finally:
            self.scale_controller(1)

    def scale_controller(self, replicas: int) -> None:
        self.kubectl("-n", SYSTEM, "scale", "deployment/intact-controller", f"--replicas={replicas}")
        if replicas:
            self.kubectl("-n", SYSTEM, "rollout", "status", "deployment/intact-controller", "--timeout=90s")
        else:
            self.kubectl("-n", SYSTEM, "wait", "pod", "-l", "app.kubernetes.io/component=controller", "--for=delete", "--timeout=60s")

    @contextmanager
    def shop(self) -> Iterator[Shop]:
        """A namespace of the test's own, gone afterwards."""
        name = f"shop-{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        try:
            yield Shop(self, name)
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Shop:
    """One namespace: its workloads, its policies, and what Intact says of them."""

    installed: Installed
    namespace: str

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.installed.kubectl("-n", self.namespace, *arguments, check=check)

    def read_all(self, *arguments: str) -> Sequence[Object]:
        items: Sequence[Object] = self.installed.read(*arguments, "-n", self.namespace)["items"]
        return items

    # -- what people do ----------------------------------------------------------------------------------------------

    def deploy(self, name: str, image: str, *, replicas: int = 1, wait: bool = True, slowly_s: int = 0, **pod: Any) -> None:
        """`slowly_s`: a new pod counts as available only after so many seconds."""
        described = deployment(name, self.namespace, image, replicas=replicas, **pod)
        apply(self.installed.cluster, {**described, "spec": {**described["spec"], "minReadySeconds": slowly_s}})
        if wait:
            self.wait_rolled_out(name)

    def wait_rolled_out(self, name: str) -> None:
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")

    def policy(self, app: str, *, cluster: bool = False, name: str = "", **spec: Any) -> None:
        """A policy for the pods of `app`; a `cluster` policy is the caller's to delete."""
        apply(self.installed.cluster, self.describe_policy(app, cluster=cluster, name=name, **spec))

    def describe_policy(self, app: str, *, cluster: bool = False, name: str = "", **spec: Any) -> Object:
        kind = "ClusterIntegrityPolicy" if cluster else "IntegrityPolicy"
        metadata = {"name": name or app} | ({} if cluster else {"namespace": self.namespace})
        whole = {"selector": {"matchLabels": {"app": app}}, "watch": {"interval": "2s"}, **spec}
        return {"apiVersion": "intact.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": whole}

    def pods(self, app: str) -> list[Object]:
        """Those that are not on their way out, by name."""
        listed = [pod for pod in self.read_all("pods", "-l", f"app={app}") if "deletionTimestamp" not in pod["metadata"]]
        return sorted(listed, key=lambda pod: str(pod["metadata"]["name"]))

    def uids(self, app: str) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods(app)}

    def run_in(self, pod: Object, script: str, *, container: str = "web") -> str:
        return self.kubectl("exec", pod["metadata"]["name"], "-c", container, "--", "sh", "-c", script)

    def tamper(self, app: str, *, text: str = "owned") -> Object:
        """Changes the page in the first pod, and returns that pod."""
        pod = self.pods(app)[0]
        self.run_in(pod, f"echo {text} >{PAGE}")
        return pod

    # -- what Intact says --------------------------------------------------------------------------------------------

    def incidents(self, app: str = "") -> list[Object]:
        found = [one for one in self.read_all("incidents") if one.get("status")]
        return [one for one in found if not app or one["spec"]["workload"]["name"] == app]

    def incident(self, app: str) -> Object | None:
        """The newest of the workload."""
        found = sorted(self.incidents(app), key=lambda one: str(one["status"]["firstSeen"]))
        return found[-1] if found else None

    def wait_incident(self, app: str, holds: Callable[[Object], bool] = lambda one: True, timeout_s: float = PATIENCE_S) -> Object:
        def incident_that_holds() -> Object | None:
            found = self.incident(app)
            return found if found and holds(found["status"]) else None

        return eventually(incident_that_holds, timeout_s)

    def remediations(self, app: str, action: str = "") -> list[Object]:
        found = [one for one in self.read_all("remediations") if one["spec"]["workload"]["name"] == app and one.get("status")]
        wanted = [one for one in found if not action or one["spec"]["action"] == action]
        return sorted(wanted, key=lambda one: (str(one["spec"]["decidedAt"]), str(one["metadata"]["name"])))

    def phases(self, app: str, action: str = "") -> list[str]:
        return [one["status"]["phase"] for one in self.remediations(app, action)]

    def wait_phase(self, app: str, action: str, *phases: str, timeout_s: float = PATIENCE_S) -> Object:
        """The first Remediation of `action` in one of `phases`."""

        def remediation_in_phase() -> Object | None:
            return next((one for one in self.remediations(app, action) if one["status"]["phase"] in phases), None)

        return eventually(remediation_in_phase, timeout_s)

    def wait_intact(self, *apps: str, timeout_s: float = PATIENCE_S) -> None:
        """Until the nodes call every container of these workloads intact."""

        def all_intact() -> bool:
            covered = self.installed.covered()
            pods = [pod for app in apps for pod in self.pods(app)]
            names = [f"{self.namespace}/{pod['metadata']['name']}/{c['name']}" for pod in pods for c in pod["spec"]["containers"]]
            return bool(names) and all(covered.get(name, {}).get("verdict") == "Intact" for name in names)

        eventually(all_intact, timeout_s)

    def alerts(self, app: str, *words: str) -> list[Object]:
        """What the webhook got about the workload."""
        found = self.installed.receivers.events(self.namespace, *words)
        return [one["data"] for one in found if (one["data"].get("workload") or {}).get("name") == app]

    def wait_alert(self, app: str, *words: str, timeout_s: float = PATIENCE_S) -> Object:
        def alert() -> Object | None:
            return next(iter(self.alerts(app, *words)), None)

        return eventually(alert, timeout_s)
