"""A cluster with Intact and the services in it: what people do there, and what Intact then says, read as people read it.

In: a running cluster. Out: pods, alerts, incidents, findings of the record. Everything lives in one namespace, gone after the block.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.noise.upper import Counts, count_upper
from bench.noise.workloads import CONTAINER, NODE, Workload, describe
from demo.receivers import Receivers
from intact.audit.record import format_time
from lab.cluster import Cluster
from lab.install import NAMESPACE as SYSTEM
from lab.install import install
from lab.processes import run
from lab.services import SERVICES, service_image
from lab.settings import LabError

NAMESPACE = "stock"
GROUP = 6
"""So many services start at once: a small machine does not start 34 pods within their probes' patience."""
SHARES = {"agent.resources.requests.cpu": "200m", "controller.resources.requests.cpu": "200m"}
"""34 services that start at once on two cores leave nothing to who has asked for nothing."""
INSIDE = ("/usr/bin/python3", "-IB", "-m", "intact")
SNAPSHOTS = "/var/lib/containerd"
Object = dict[str, Any]


@contextmanager
def install_intact(cluster: Cluster) -> Iterator[Stage]:
    """Intact installed with receivers of its alerts, and the stage."""
    with tempfile.TemporaryDirectory(prefix="intact-noise-") as name, Receivers(cluster.host_ip, Path(name) / "receivers") as receivers:
        settings = {"notify.syslog": receivers.syslog, "notify.webhook.url": receivers.webhook, "registries.insecure[0]": cluster.registry}
        install(cluster, values={**settings, **SHARES})
        with open_stage(cluster, receivers, Path(name)) as stage:
            yield stage


@contextmanager
def open_stage(cluster: Cluster, receivers: Receivers, directory: Path) -> Iterator[Stage]:
    """A namespace, and a way from the machine to its pods on node 1 as long as the cluster lives."""
    run("ip", "route", "replace", cluster.plan.node(1).pod_range, "via", cluster.plan.api_ip)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        yield Stage(cluster, receivers, directory)
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


@dataclass
class Stage:
    cluster: Cluster
    receivers: Receivers
    directory: Path
    images: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments, input=input, check=check)

    # -- what people do ----------------------------------------------------------------------------------------------

    def deploy(self, workloads: Sequence[Workload], *, timeout_s: int = 600) -> None:
        """Starts them, a group after the other, and waits until each is ready."""
        for first in range(0, len(workloads), GROUP):
            group = workloads[first : first + GROUP]
            objects = [describe(one, NAMESPACE, self._image(one.service)) for one in group]
            self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
            self.wait_ready(group, timeout_s=timeout_s)

    def restart(self, workloads: Sequence[Workload], *, timeout_s: int = 600) -> None:
        """A rolling restart of each."""
        for first in range(0, len(workloads), GROUP):
            group = workloads[first : first + GROUP]
            self.kubectl("rollout", "restart", *(f"deployment/{one.service}" for one in group))
            self.wait_ready(group, timeout_s=timeout_s)

    def wait_ready(self, workloads: Sequence[Workload], *, timeout_s: int) -> None:
        for one in workloads:
            try:
                self.kubectl("rollout", "status", f"deployment/{one.service}", f"--timeout={timeout_s}s")
            except LabError as error:
                said = self.kubectl("logs", "-l", f"app={one.service}", "--tail=20", check=False)
                pods = self.kubectl("get", "pods", "-l", f"app={one.service}", check=False)
                raise LabError(f"{error}\n{pods}{said}") from error

    def _image(self, service: str) -> str:
        if service not in self.images:
            name = f"stock/{service}:1"
            layout = service_image(SERVICES[service], self.directory / service, f"{self.cluster.registry}/{name}")
            self.images[service] = layout.push(self.cluster.registry, name)
            shutil.rmtree(layout.directory)
        return self.images[service]

    def pods(self, service: str) -> list[Object]:
        """Those that are not on their way out, by name."""
        listed = json.loads(self.kubectl("get", "pods", "-l", f"app={service}", "-o", "json"))["items"]
        return sorted((one for one in listed if "deletionTimestamp" not in one["metadata"]), key=lambda one: str(one["metadata"]["name"]))

    def run_in(self, pod: Object, script: str, *, check: bool = True) -> str:
        return self.kubectl("exec", pod["metadata"]["name"], "-c", CONTAINER, "--", "sh", "-c", script, check=check)

    def start_in(self, pod: Object, script: str) -> subprocess.Popen[bytes]:
        """`script` in the container; the caller ends the process."""
        words = ["-n", NAMESPACE, "exec", pod["metadata"]["name"], "-c", CONTAINER, "--", "sh", "-c", script]
        command = [str(self.cluster.binaries / "kubectl"), *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=self.cluster.environment, **quiet)  # type: ignore[call-overload, no-any-return]

    # -- what Intact says --------------------------------------------------------------------------------------------

    def alerts(self, service: str = "") -> list[Object]:
        """What the webhook got about the namespace's workloads."""
        found = [event["data"] | {"type": event["type"]} for event in self.receivers.events(NAMESPACE)]
        return [one for one in found if not service or (one.get("workload") or {}).get("name") == service]

    def incidents(self, service: str = "") -> list[Object]:
        found = json.loads(self.kubectl("get", "incidents", "-o", "json"))["items"]
        return [one for one in found if one.get("status") and (not service or one["spec"]["workload"]["name"] == service)]

    def recorded(self, kind: str) -> list[Object]:
        """Leaves of the record about the namespace, since the stage was opened."""
        leaves = self._ask("audit", "show", "--kind", kind)
        return [leaf for leaf in leaves if leaf["at"] >= format_time(self.began) and f" {NAMESPACE}/" in leaf["workload"]]

    def counted(self, service: str) -> list[Object]:
        """What was counted of the service's containers, as the suggestion of what its policy could expect."""
        return self._ask("policy", "suggest", f"{NAMESPACE}/{service}")

    def _ask(self, *words: str) -> list[Object]:
        """`intact` in the controller's pod."""
        command = ("deploy/intact-controller", "-c", "controller", "--", *INSIDE, *words, "--output", "jsonl")
        return [json.loads(line) for line in self.cluster.kubectl("-n", SYSTEM, "exec", *command).splitlines()]

    def wait_looked_at(self, *, timeout_s: float = 300.0) -> None:
        """Until the node has spoken since now, and every container, those that hold the pods too, has a verdict."""
        began = format_time(time.time())

        def is_done() -> bool:
            status = json.loads(self.cluster.kubectl("get", "nodeintegrity", NODE, "-o", "json")).get("status", {})
            looked_at = sum(int(status.get(verdict, 0)) for verdict in ("intact", "expected", "drifted", "unobserved"))
            running = len(json.loads(self.kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "json"))["items"])
            return status.get("heardAt", "") > began and not status.get("pending", 0) and looked_at >= 2 * running

        until(is_done, timeout_s, "every container has a verdict")

    # -- what is so, without Intact ----------------------------------------------------------------------------------

    def count_changes(self) -> dict[str, Counts]:
        """What each pod's writable layer holds now, by the pod's name."""
        node = self.cluster.plan.node(1)
        tasks = self.cluster.run_on_node("ctr", "-n", "k8s.io", "tasks", "ls").stdout.splitlines()[1:]
        pids = {words[0]: words[1] for words in (line.split() for line in tasks) if len(words) == 3 and words[2] == "RUNNING"}
        counted = {}
        for pod in json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]:
            for status in pod["status"].get("containerStatuses", []):
                pid = pids.get(str(status.get("containerID", "")).removeprefix("containerd://"))
                if pid is None:
                    continue
                mounts = self.cluster.run_on_node("cat", f"/proc/{pid}/mountinfo", check=False).stdout.splitlines()
                root = next((line for line in mounts if line.split()[4] == "/" and " - overlay " in line), "")
                options = dict(one.partition("=")[::2] for one in root.rpartition(" ")[2].split(","))
                if "upperdir" in options:
                    directories = [_on_machine(node.state, one) for one in (options["upperdir"], *options["lowerdir"].split(":"))]
                    counted[pod["metadata"]["name"]] = count_upper(directories[0], directories[1:])
        return counted


def _on_machine(state: Path, path: str) -> Path:
    return state / path.lstrip("/")


def until(ask: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not ask():
        if time.monotonic() > deadline:
            raise LabError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(1)
