"""What people see of Intact on a real node: tampering is told within seconds, ordinary life is silent, and the record can be proven."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.install import write_commands
from tests.cluster.kubernetes import eventually
from tests.cluster.whole import PAGE, SYSTEM, Image, Installed, Object, Shop

SECONDS = 5.0
"""How long people may wait to be told, here where three nodes share one small machine."""


@pytest.fixture(scope="module")
def image(installed: Installed) -> Image:
    return installed.push("v1")


@pytest.fixture(scope="module")
def web(installed: Installed, image: Image) -> Iterator[Shop]:
    """A Deployment `web` with an init container, a sidecar, and a debugger attached to its pod; nobody declared a policy."""
    with installed.shop() as shop:
        setup = {"name": "setup", "image": image.digest, "command": ["true"]}
        sidecar = {"name": "sidecar", "image": image.digest, "restartPolicy": "Always"}
        shop.deploy("web", image.digest, initContainers=[setup, sidecar])
        name = shop.pods("web")[0]["metadata"]["name"]
        shop.kubectl("debug", name, "-c", "debugger", f"--image={image.digest}", "--", "sleep", "1d")
        yield shop


def test_every_container_of_a_pod_is_watched_with_the_image_it_really_runs(web: Shop, image: Image) -> None:
    pod = web.pods("web")[0]
    prefix = f"{web.namespace}/{pod['metadata']['name']}/"
    expected = {f"{prefix}{name}" for name in ("web", "sidecar", "debugger", "POD")}

    def all_intact() -> dict[str, Object] | None:
        found = {name: one for name, one in web.installed.covered().items() if name.startswith(prefix)}
        return found if expected <= found.keys() and all(found[name]["verdict"] == "Intact" for name in expected) else None

    covered = eventually(all_intact, 60)
    assert {covered[name]["podUID"] for name in expected} == {pod["metadata"]["uid"]}
    roots = {name.removeprefix(prefix): covered[name]["baseline"] for name in expected}
    assert roots["web"] == roots["sidecar"] == roots["debugger"] != roots["POD"]
    baseline = web.installed.read("imagebaselines", f"sha256-{image.config.removeprefix('sha256:')}")
    assert (baseline["spec"]["key"], baseline["status"]["root"]) == (image.config, roots["web"])


def test_ordinary_life_is_silent(web: Shop) -> None:
    pod = web.pods("web")[0]
    web.run_in(pod, f"touch {PAGE} && cat {PAGE} >/dev/null && mkdir -p /var/log /var/cache/web && echo started >/var/log/web.log")
    web.run_in(pod, "echo 1 >/tmp/session && echo 2 >/var/cache/web/item && echo again >>/var/log/web.log && rm /tmp/session")
    time.sleep(3)
    assert web.incidents() == [] and web.alerts("web") == []


@pytest.mark.parametrize("container", ["web", "sidecar", "debugger"])
def test_tampering_in_any_container_is_told(web: Shop, container: str) -> None:
    pod, path = web.pods("web")[0], f"/etc/cron.d/{container}"
    web.run_in(pod, f"mkdir -p /etc/cron.d && echo '* * * * * root id' >{path}", container=container)
    incident = web.wait_incident("web", lambda status: path in {one["path"] for one in status["paths"]}, 30)
    assert incident["status"]["pods"] == [pod["metadata"]["name"]]
    found = [leaf for leaf in web.installed.recorded("Finding", f"{web.namespace}/web") if leaf["body"]["path"] == path]
    # A look between the shell's open and its write records the empty file, too.
    where = {(leaf["body"]["container_name"], leaf["body"]["pod_uid"], leaf["node"]) for leaf in found}
    assert where == {(container, pod["metadata"]["uid"], pod["spec"]["nodeName"])}
    assert len(web.alerts("web", "IncidentOpened")) == len(web.incidents("web")) == 1


def test_an_incident_is_there_within_seconds_and_names_path_expected_and_actual(installed: Installed, shop: Shop, image: Image) -> None:
    shop.deploy("api", image.digest)
    shop.wait_intact("api")
    began = time.monotonic()
    page = f"echo owned >/tmp/page; mv /tmp/page {PAGE}"  # in one step: no look tells of an empty file
    shop.run_in(shop.pods("api")[0], f"{page}; rm /etc/version; cp /bin/busybox /bin/backdoor; chmod u+s /bin/backdoor")
    shop.wait_alert("api", "IncidentOpened", timeout_s=SECONDS)
    assert time.monotonic() - began < SECONDS

    def all_told(status: Object) -> bool:
        told = {one["path"]: one["actual"] for one in sorted(status["paths"], key=lambda one: str(one["actual"]).endswith(" 4755 0:0"))}
        return len(told) == 3 and told.get("/bin/backdoor", "").endswith(" 4755 0:0")

    status = shop.wait_incident("api", all_told, 30)["status"]
    changes = {one["path"]: one["change"] for one in status["paths"]}
    assert changes == {PAGE: "Modified", "/etc/version": "Deleted", "/bin/backdoor": "Added"}
    (told,) = [one for one in status["paths"] if one["path"] == PAGE]
    assert (told["expected"], told["actual"]) == (f"{_digest('shop v1')} 0644 0:0", f"{_digest('owned')} 0644 0:0")
    assert [one["actual"] for one in status["paths"] if one["path"] == "/etc/version"] == ["-"]
    assert status["level"] == "Critical"
    assert len(installed.receivers.lines("IncidentOpened", shop.namespace)) == 1
    (leaf,) = [leaf for leaf in installed.recorded("Finding", f"{shop.namespace}/api") if leaf["body"]["path"] == PAGE]
    assert leaf["body"]["image_key"] == image.config


def test_a_rollout_is_silent(installed: Installed, shop: Shop, image: Image) -> None:
    shop.deploy("web", image.tag, replicas=2)
    shop.kubectl("set", "image", "deployment/web", f"web={installed.push('v2').tag}")
    shop.wait_rolled_out("web")
    shop.wait_intact("web")
    assert shop.incidents() == [] and shop.alerts("web") == []


def test_the_agent_has_three_capabilities_and_no_rights_in_the_cluster(installed: Installed) -> None:
    agent = installed.agent_on("node2")["metadata"]["name"]
    inside = ("-n", SYSTEM, "exec", agent, "-c", "agent", "--", "/usr/bin/python3", "-IBc", "print(open('/proc/self/status').read())")
    status = dict(line.split(":", 1) for line in installed.kubectl(*inside).splitlines() if ":" in line)
    wanted = sum(1 << bit for bit in (2, 19, 21))  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN (capability.h)
    assert {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), wanted)
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    person = f"system:serviceaccount:{SYSTEM}:intact-agent"
    allowed = installed.kubectl("auth", "can-i", "--list", f"--as={person}", "-n", SYSTEM).splitlines()[1:]
    everybody = installed.kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:default:default", "-n", SYSTEM).splitlines()[1:]
    assert set(allowed) == set(everybody), "the agent's account may do what every account may, and nothing else"


def test_the_controller_is_not_root_and_cannot_write_its_own_files(installed: Installed) -> None:
    inside = ("-n", SYSTEM, "exec", "deploy/intact-controller", "-c", "controller", "--", "/usr/bin/python3", "-IBc")
    said = installed.kubectl(*inside, "import os; print(os.getuid(), os.getgid()); print(open('/proc/self/status').read())")
    assert said.splitlines()[0] == "65532 65532"
    assert {line.split()[1] for line in said.splitlines() if line.startswith(("CapEff", "CapBnd"))} == {"0" * 16}
    mount = installed.kubectl(*inside, "print(next(l for l in open('/proc/self/mountinfo') if l.split()[4] == '/'))")
    assert "ro" in mount.split()[5].split(",")


def test_people_read_it_with_kubectl_intact(web: Shop) -> None:
    path = f"{write_commands(web.installed.cluster)}:{web.installed.cluster.environment['PATH']}"
    environment = {**web.installed.cluster.environment, "PATH": path}

    def kubectl_intact(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "intact", *arguments]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)

    incident = web.wait_incident("web")["metadata"]["name"]
    status = kubectl_intact("status")
    assert all(node in status.stdout for node in ("node1", "node2", "node3")), status.stderr
    assert incident in kubectl_intact("incident", "list", "-A").stdout
    rows = json.loads(kubectl_intact("incident", "list", "-n", web.namespace, "--output", "json").stdout)
    assert [row["incident"] for row in rows] == [incident]
    shown = kubectl_intact("incident", "show", incident, "-n", web.namespace)
    assert shown.returncode == 0 and "/etc/cron.d/web" in shown.stdout
    missing = kubectl_intact("incident", "show", "nonsense", "-n", web.namespace)
    assert missing.returncode not in (0, 1) and "Traceback" not in missing.stderr and "nonsense" in missing.stderr


def test_the_record_is_exported_and_proven_and_an_edit_is_found(web: Shop, tmp_path: Path) -> None:
    export, key = tmp_path / "log.jsonl", tmp_path / "audit.pub"
    key.write_text(web.installed.kubectl("-n", SYSTEM, "get", "configmap", "intact-ca", "-o", r"jsonpath={.data.audit\.pub}"))
    done = web.installed.intact("audit", "export", "--cluster", "-o", str(export))
    assert done.returncode == 0, done.stderr
    proven = web.installed.intact("audit", "verify", str(export), "--key", str(key))
    assert proven.returncode == 0 and "IncidentOpened" in proven.stdout, proven.stderr
    written = export.read_text()
    assert "/etc/cron.d/web" in written
    export.write_text(written.replace("/etc/cron.d/web", "/etc/cron.d/xxx", 1))
    edited = web.installed.intact("audit", "verify", str(export), "--key", str(key))
    assert edited.returncode not in (0, 1) and "Traceback" not in edited.stderr


def _digest(line: str) -> str:
    return f"sha256:{hashlib.sha256(line.encode() + bytes([10])).hexdigest()}"
