"""On a Kubernetes node: an image file is changed in a pod → incident → rollback → clean pods ready → proven intact. Seconds for each.

sudo python -m bench.rollback [--rounds 5]

A cluster of the harness with Intact installed by its chart, a Deployment of two pods under the policy "any change of an image file rolls
back", pods that are ready at once. Each round starts a Deployment of its own at v1, lets it be seen intact, goes to v2, and changes a
program in one pod of v2. What is seen is polled from the API server, so every time is late by up to the poll. Beside it: the same rollback
by hand (`kubectl rollout undo` until the new pods are ready), which Kubernetes itself needs and no product can be faster than.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightkube.config.kubeconfig import KubeConfig

from bench.watching import describe_run
from intact.adapters.cluster.api import Api
from intact.adapters.cluster.kinds import DEPLOYMENT, INCIDENT, NODE, POD, REMEDIATION
from intact.model.policy import API_VERSION
from lab import install
from lab.cluster import Cluster
from lab.images import busybox_image

NAMESPACE = "intact-bench"
POLL_S = 0.05
SOAK_S = 5
KNOWN_GOOD_S = 25.0
"""The soak, a look every 5 s, and the heartbeat that tells of it every 15 s."""
PATIENCE_S = 120.0
STEPS = ("incident shown", "Deployment patched", "clean pods ready", "Verified")
Body = dict[str, Any]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    print(describe_run())
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Cluster(nodes=1) as cluster:
        install.install(cluster, values={"registries.insecure[0]": cluster.registry})
        bench = Bench(cluster, Path(name))
        rounds = [bench.measure(number) for number in range(chosen.rounds)]
        by_hand = [bench.undo_by_hand(number) for number in range(chosen.rounds)]
        bench.close()
    print(f"\n{'from the write, in seconds':<28}{'median':>8}{'least':>8}{'most':>8}   over a rollback by hand")
    hand = statistics.median(by_hand)
    for step in STEPS:
        times = [one[step] for one in rounds]
        median = statistics.median(times)
        print(f"{step:<28}{median:>8.2f}{min(times):>8.2f}{max(times):>8.2f}{median / hand:>10.2f}x")
    print(f"{'rollout undo to ready':<28}{hand:>8.2f}{min(by_hand):>8.2f}{max(by_hand):>8.2f}{1:>10.2f}x")


class Bench:
    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._api = Api(KubeConfig.from_file(str(cluster.kubeconfig)))
        self._images = []
        for version in ("1", "2"):
            layout = busybox_image(
                directory / version, f"{cluster.registry}/bench/web:{version}", files={b"/etc/version": version.encode()}
            )
            self._images.append(layout.push(cluster.registry, f"bench/web:{version}"))
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, policy())

    def close(self) -> None:
        self._api.close()

    def measure(self, number: int) -> Mapping[str, float]:
        """One Deployment from v1 by v2 to its rollback. Seconds from the write to each of STEPS."""
        app = f"web{number}"
        self._roll_out(app, self._images[0])
        self._until("v1 intact", lambda: self._is_intact(app))
        time.sleep(KNOWN_GOOD_S)
        self._roll_out(app, self._images[1])
        self._until("v2 intact", lambda: self._is_intact(app))
        before = {pod["metadata"]["uid"] for pod in self._pods(app)}
        victim = self._pods(app)[0]["metadata"]["name"]
        times: dict[str, float] = {}
        # The pod itself says when it had written: its kernel is ours, and /proc/uptime is our clock.
        write = "echo '#!/bin/sh' > /bin/id.new && mv /bin/id.new /bin/id && cat /proc/uptime"
        written_at = float(self._cluster.kubectl("-n", NAMESPACE, "exec", victim, "--", "sh", "-c", write).split()[0])
        probes: dict[str, Callable[[], bool]] = {
            "incident shown": lambda: self._incident(app),
            "Deployment patched": lambda: self._image(app) == self._images[0],
            "clean pods ready": lambda: self._is_ready(app, before),
            "Verified": lambda: self._is_verified(app),
        }
        while len(times) < len(STEPS):
            for step in STEPS:
                if step not in times and probes[step]():
                    times[step] = time.clock_gettime(time.CLOCK_BOOTTIME) - written_at
            if time.clock_gettime(time.CLOCK_BOOTTIME) - written_at > PATIENCE_S:
                raise SystemExit(f"{app}: only {', '.join(times) or 'nothing'} within {PATIENCE_S:.0f} s:\n{self._describe(app)}")
            time.sleep(POLL_S)
        print(f"round {number + 1}: " + ", ".join(f"{step} {times[step]:.2f} s" for step in STEPS), flush=True)
        self._cluster.kubectl("-n", NAMESPACE, "delete", "deployment", app, "--wait=true")
        return times

    def undo_by_hand(self, number: int) -> float:
        """Seconds from `kubectl rollout undo` to the first revision's pods ready, without a policy."""
        app = f"hand{number}"
        self._roll_out(app, self._images[0])
        self._roll_out(app, self._images[1])
        before = {pod["metadata"]["uid"] for pod in self._pods(app)}
        started = time.monotonic()
        self._cluster.kubectl("-n", NAMESPACE, "rollout", "undo", f"deployment/{app}")
        self._until("the rollback by hand", lambda: self._is_ready(app, before))
        passed = time.monotonic() - started
        self._cluster.kubectl("-n", NAMESPACE, "delete", "deployment", app, "--wait=true")
        return passed

    def _roll_out(self, app: str, image: str) -> None:
        self._apply(deployment(app, image))
        self._cluster.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{app}", "--timeout=120s")
        self._until("old pods gone", lambda: len(self._pods(app)) == 2)

    def _apply(self, *objects: Body) -> None:
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"{what}: not within {PATIENCE_S:.0f} s\n{self._cluster.kubectl('get', 'nodeintegrities', '-o', 'yaml')[-3000:]}"
                )
            time.sleep(POLL_S)

    def _pods(self, app: str) -> list[Body]:
        return list(self._api.list_all(POD, NAMESPACE, labels=f"app={app}"))

    def _is_intact(self, app: str) -> bool:
        uids = {pod["metadata"]["uid"] for pod in self._pods(app)}
        listed = [c for node in self._api.list_all(NODE) for c in (node.get("status") or {}).get("containers") or []]
        found = [c for c in listed if c.get("podUID") in uids]
        return {c["podUID"] for c in found} == uids and all(c["verdict"] == "Intact" for c in found)

    def _image(self, app: str) -> str:
        found = self._api.get(DEPLOYMENT, app, NAMESPACE)
        assert found is not None
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def _is_ready(self, app: str, before: set[str]) -> bool:
        """Every pod is new and ready."""
        ready = [p for p in self._pods(app) if p["metadata"]["uid"] not in before and _condition(p, "Ready")]
        left = [p for p in self._pods(app) if p["metadata"]["uid"] in before and "deletionTimestamp" not in p["metadata"]]
        return len(ready) == 2 and not left

    def _incident(self, app: str) -> bool:
        return any(i["spec"]["workload"]["name"] == app and i.get("status") for i in self._api.list_all(INCIDENT, NAMESPACE))

    def _is_verified(self, app: str) -> bool:
        ours = [r for r in self._api.list_all(REMEDIATION, NAMESPACE) if r["spec"]["workload"]["name"] == app]
        phases = {(r.get("status") or {}).get("phase") for r in ours if r["spec"]["action"] == "RollBack"}
        if phases & {"Failed", "Refused"}:
            raise SystemExit(f"{app} was not rolled back:\n{self._describe(app)}")
        return "Verified" in phases

    def _describe(self, app: str) -> str:
        return self._cluster.kubectl("-n", NAMESPACE, "get", "incidents,remediations,pods", "-o", "wide") + self._cluster.kubectl(
            "-n", NAMESPACE, "get", "remediations", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status.message}{'\\n'}{end}"
        )


def _condition(one: Body, type: str) -> bool:
    return any(c["type"] == type and c["status"] == "True" for c in one.get("status", {}).get("conditions", []))


def deployment(app: str, image: str) -> Body:
    template = {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "containers": [{"name": "web", "image": image}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
        },
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": app}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app, "namespace": NAMESPACE}, "spec": spec}


def policy() -> Body:
    spec = {
        "selector": {},
        "mode": "Enforce",
        "watch": {"interval": "5s"},
        "respond": [{"when": {"level": "Medium"}, "do": ["RollBack"]}],
        "guard": {"corroboration": "Reporter", "rollback": {"to": "LastKnownGood", "soak": f"{SOAK_S}s"}},
    }
    return {"apiVersion": API_VERSION, "kind": "IntegrityPolicy", "metadata": {"name": "bench", "namespace": NAMESPACE}, "spec": spec}


if __name__ == "__main__":
    main()
