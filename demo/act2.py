"""Act 2, on a real Kubernetes node: Intact by its chart, a Deployment that is tampered with, rolled back, proven and recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import workloads
from demo.receivers import Receivers
from demo.story import Story, wait_for
from demo.target import Target, open_target
from demo.workloads import CURED, NAMESPACE, OBSERVED, ROLLED_BACK
from lab.images import web_image

PATIENCE_S = 120.0
SHELL = "/usr/share/nginx/html/status.php"
TAMPER = f"echo '<?php system($_GET[0]); ?>' > {SHELL}; cp /usr/bin/env /usr/bin/id; chmod u+s /usr/bin/dash"


def play(story: Story, workspace: Path, which: str) -> None:
    """Tells the act on a cluster of its own, or on the `current` one."""
    story.act("Act 2: a real Kubernetes node")
    with story.step("the cluster"), open_target(which) as target:
        story.show(target.kubectl("get", "nodes", "-o", "wide"))
        with Receivers(target.host_ip, workspace / "receivers") as receivers:
            _Act(story, workspace, target, receivers).play()


class _Act:
    def __init__(self, story: Story, workspace: Path, target: Target, receivers: Receivers) -> None:
        self._story, self._workspace, self._target, self._receivers = story, workspace, target, receivers

    def play(self) -> None:
        try:
            self._set_up()
            self._roll_back()
            self._observe()
            self._cure()
            self._tell_record()
        finally:
            self._target.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)

    def _set_up(self) -> None:
        story, target = self._story, self._target
        with story.step("Intact is installed by its Helm chart"):
            target.install(
                {
                    "notify.syslog": self._receivers.syslog,
                    "notify.webhook.url": self._receivers.webhook,
                    "registries.insecure[0]": target.registry,
                }
            )
        story.show(target.kubectl("-n", "intact-system", "get", "pods"))
        with story.step("two versions of a web server are pushed to the registry"):
            names = {version: f"shop/web:{version}" for version in ("v1", "v2")}
            images = {v: target.push(web_image(self._workspace / v, f"{target.registry}/{name}", v), name) for v, name in names.items()}
        target.apply(workloads.namespace())
        with story.step("three Deployments start at v1, each under its own IntegrityPolicy"):
            apps = (ROLLED_BACK, OBSERVED, CURED)
            target.apply(*workloads.policies(), *(workloads.deployment(app, images["v1"]) for app in apps))
            for app in apps:
                target.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{app}", "--timeout=120s")
        with story.step("v1 is seen intact for the soak time: it becomes a known-good revision"):
            wait_for("all containers intact", self._all_intact, PATIENCE_S)
            time.sleep(20)
        with story.step("web goes to v2, its second revision"):
            target.kubectl("-n", NAMESPACE, "set", "image", f"deployment/{ROLLED_BACK}", f"nginx={images['v2']}")
            target.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{ROLLED_BACK}", "--timeout=120s")
            wait_for("the pods of v2 intact", self._all_intact, PATIENCE_S)
        story.claim("a rollout to a new image raises no incident", not self._list("incidents"), str(self._list("incidents")))
        story.show(target.kubectl("-n", NAMESPACE, "get", "integritypolicies"))
        story.show(target.kubectl("get", "nodeintegrities"))

    def _roll_back(self) -> None:
        story, target = self._story, self._target
        story.say(f"an attacker in a pod of {ROLLED_BACK}:  {TAMPER}")
        before = {pod["metadata"]["uid"] for pod in self._pods(ROLLED_BACK)}
        started = time.monotonic()
        self._tamper(ROLLED_BACK)
        incident = wait_for("the incident", lambda: self._incident(ROLLED_BACK), PATIENCE_S)
        story.say(f"{time.monotonic() - started:.1f} s: the incident")
        lines = wait_for("the syslog line", lambda: self._receivers.lines("IncidentOpened", ROLLED_BACK) or None, 30)
        story.show(lines[0][:400])
        remediation = wait_for("the rollback's end", lambda: self._ended("RollBack"), PATIENCE_S)
        story.say(f"{time.monotonic() - started:.1f} s: the Remediation is {remediation['status']['phase']}")
        story.show(target.kubectl("-n", NAMESPACE, "get", "incidents,remediations"))
        story.claim("the Remediation is Verified", remediation["status"]["phase"] == "Verified", json.dumps(remediation["status"]))
        incident = self._incident(ROLLED_BACK) or incident
        paths = {path["path"] for path in incident["status"]["paths"]}
        story.claim("the incident names all three paths", {SHELL, "/usr/bin/id", "/usr/bin/dash"} <= paths, str(paths))
        pods = self._pods(ROLLED_BACK)
        image = target.kubectl(
            "-n", NAMESPACE, "get", "deployment", ROLLED_BACK, "-o", "jsonpath={.spec.template.spec.containers[0].image}"
        )
        versions = {self._exec(pod, "cat", "/usr/share/nginx/html/version.txt").strip() for pod in pods}
        story.claim("every pod is new and serves v1, pinned by digest", versions == {"v1"} and "@sha256:" in image and not before & {
            pod["metadata"]["uid"] for pod in pods}, f"{versions} {image}")  # fmt: skip
        story.claim("syslog received one alert for the incident", len(self._receivers.lines("IncidentOpened", ROLLED_BACK)) == 1)
        story.claim("the webhook received it as a CloudEvent", bool(self._receivers.events("IncidentOpened", ROLLED_BACK)))
        events = target.kubectl("-n", NAMESPACE, "get", "events", "-o", "json")
        told = [
            e for e in json.loads(events)["items"] if e.get("reason") == "IncidentOpened" and e["involvedObject"]["name"] == ROLLED_BACK
        ]
        story.claim("a Kubernetes Event is on the Deployment", bool(told), "no Event of reason IncidentOpened")
        wait_for("the incident resolved", lambda: self._in_state(ROLLED_BACK, "Resolved"), PATIENCE_S)
        story.claim("the incident is Resolved", True)

    def _observe(self) -> None:
        story = self._story
        before = {pod["metadata"]["uid"] for pod in self._pods(OBSERVED)}
        story.say(f"the same in {OBSERVED}, whose policy only observes")
        self._tamper(OBSERVED)
        wait_for("the alert", lambda: self._receivers.lines("IncidentOpened", OBSERVED) or None, PATIENCE_S)
        time.sleep(5)
        after = {pod["metadata"]["uid"] for pod in self._pods(OBSERVED)}
        actions = [r for r in self._list("remediations") if r["spec"]["workload"]["name"] == OBSERVED]
        story.claim("an alert, and no action", before == after and not actions, str(actions))

    def _cure(self) -> None:
        story = self._story
        before = {pod["metadata"]["uid"] for pod in self._pods(CURED)}
        story.say(f"the same in {CURED}, which is enforced without a rule of its own: the cause is the container, the cure a fresh pod")
        self._tamper(CURED)
        remediation = wait_for("the fresh pod", lambda: self._ended("RestartPod"), PATIENCE_S)
        after = {pod["metadata"]["uid"] for pod in self._pods(CURED)}
        story.show(self._target.kubectl("-n", NAMESPACE, "get", "incidents,remediations"))
        story.claim("one pod was replaced, the other kept", len(before & after) == 1 and len(after) == 2, f"{before} {after}")
        story.claim("the fresh pod was proven intact", remediation["status"]["phase"] == "Verified", json.dumps(remediation["status"]))
        rollbacks = [r for r in self._list("remediations") if r["spec"]["action"] == "RollBack" and r["spec"]["workload"]["name"] == CURED]
        story.claim("and nothing was rolled back", not rollbacks)

    def _tell_record(self) -> None:
        story = self._story
        story.say("the record of all this, exported from the controller and verified offline against the published key")
        export, key = self._workspace / "cluster-audit.jsonl", self._workspace / "cluster-audit.pub"
        key.write_text(self._target.kubectl("-n", "intact-system", "get", "configmap", "intact-ca", "-o", r"jsonpath={.data.audit\.pub}"))
        done = self._intact("audit", "export", "--cluster", "-o", str(export))
        story.claim("the record is exported", done.returncode == 0, done.stderr)
        done = self._intact("audit", "verify", str(export), "--key", str(key))
        story.show(done.stdout or done.stderr)
        story.claim("`intact audit verify` accepts it", done.returncode == 0, done.stderr)
        done = self._intact("status")
        story.show(done.stdout)

    # -- looking at the cluster --------------------------------------------------------------------------------------

    def _tamper(self, app: str) -> None:
        pod = self._pods(app)[0]
        self._exec(pod, "sh", "-c", TAMPER)

    def _exec(self, pod: Mapping[str, Any], *command: str) -> str:
        return self._target.kubectl("-n", NAMESPACE, "exec", pod["metadata"]["name"], "-c", "nginx", "--", *command)

    def _pods(self, app: str) -> list[dict[str, Any]]:
        listed = json.loads(self._target.kubectl("-n", NAMESPACE, "get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
        return [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]

    def _list(self, kind: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self._target.kubectl("-n", NAMESPACE, "get", kind, "-o", "json"))["items"]
        return items

    def _incident(self, app: str) -> dict[str, Any] | None:
        return next((i for i in self._list("incidents") if i["spec"]["workload"]["name"] == app and i.get("status")), None)

    def _in_state(self, app: str, state: str) -> bool | None:
        incident = self._incident(app)
        return True if incident and incident["status"]["state"] == state else None

    def _ended(self, action: str) -> dict[str, Any] | None:
        """The first finished Remediation of this kind."""
        ended = ("Verified", "Failed", "Refused")
        found = [r for r in self._list("remediations") if r["spec"]["action"] == action]
        return next((r for r in found if r.get("status", {}).get("phase") in ended), None)

    def _all_intact(self) -> bool | None:
        """Whether the nodes call every container of the demo intact."""
        listed = json.loads(self._target.kubectl("get", "nodeintegrities", "-o", "json"))["items"]
        containers = [
            c for node in listed for c in node.get("status", {}).get("containers", []) if c["container"].startswith(f"{NAMESPACE}/")
        ]
        uids = {pod["metadata"]["uid"] for app in (ROLLED_BACK, OBSERVED, CURED) for pod in self._pods(app)}
        own = [c for c in containers if c.get("podUID") in uids]
        return True if len(own) >= 2 * len(uids) and all(c["verdict"] == "Intact" for c in own) else None

    def _intact(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "intact", *arguments]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(self._target.environment))
