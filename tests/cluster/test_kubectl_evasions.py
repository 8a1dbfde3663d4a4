"""What somebody with kubectl does to a running container, and what somebody with a node does to its agent: each is told, and by whom.

One agent is stopped before the first test and continued by the last: what the others take is part of the time until it is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.kubernetes import eventually
from tests.cluster.whole import PAGE, Image, Installed, Object, Shop

PATIENCE_S = 60.0
MISSED_S = 240.0
"""Six heartbeats, and the time until somebody looks, several times over."""
ON_NODE = "kubernetes.io/hostname"


@pytest.fixture(scope="module")
def image(installed: Installed) -> Image:
    return installed.push("v1")


@dataclass(frozen=True)
class Stopped:
    """A workload on a node whose agent does not run."""

    shop: Shop
    node: str
    agent: str

    def signal(self, name: str) -> None:
        number = self.shop.installed.node_number(self.node)
        self.shop.installed.cluster.run_on_node("kill", f"-{name}", self.agent, node_number=number)


@pytest.fixture(scope="module", autouse=True)
def stopped(installed: Installed, image: Image) -> Iterator[Stopped]:
    with installed.shop() as shop:
        shop.deploy("unwatched", image.digest, nodeSelector={ON_NODE: "node3"})
        shop.wait_intact("unwatched")
        stopped = Stopped(shop, "node3", find_agent(installed, "node3"))
        stopped.signal("STOP")
        try:
            yield stopped
        finally:
            stopped.signal("CONT")


@pytest.fixture(scope="module")
def web(installed: Installed, image: Image) -> Iterator[Shop]:
    with installed.shop() as shop:
        shop.deploy("web", image.digest, nodeSelector={ON_NODE: "node2"})
        shop.wait_intact("web")
        yield shop


def find_agent(installed: Installed, node: str) -> str:
    """Its pid on the node."""
    listed = installed.cluster.run_on_node("ps", "-eo", "pid,args", node_number=installed.node_number(node)).stdout.splitlines()
    (pid,) = [line.split()[0] for line in listed if line.split()[1:] == ["/usr/bin/python3", "-IB", "-m", "intact", "agent"]]
    return pid


def wait_finding(shop: Shop, path: str) -> Object:
    """The record's word on it."""

    def finding() -> Object | None:
        found = [leaf["body"] for leaf in shop.installed.recorded("Finding", f"{shop.namespace}/web") if leaf["body"]["path"] == path]
        return dict(found[0]) if found else None

    return eventually(finding, PATIENCE_S)


def test_a_file_copied_into_a_pod_is_told_with_the_program_that_unpacked_it(web: Shop, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("* * * * * root id\n")
    pod = web.pods("web")[0]["metadata"]["name"]
    web.kubectl("cp", str(tmp_path / "job"), f"{pod}:/etc/copied.conf", "-c", "web")
    found = wait_finding(web, "/etc/copied.conf")
    assert (found["change"], found["container_name"]) == ("Added", "web")
    assert " tar " in found["process"], found["process"]


def test_a_command_executed_in_a_pod_is_told_with_what_it_was(web: Shop) -> None:
    web.run_in(web.pods("web")[0], "echo owned >/etc/executed.conf")
    found = wait_finding(web, "/etc/executed.conf")
    assert (found["change"], found["container_name"]) == ("Added", "web")
    assert found["process"].startswith("/bin/busybox sh "), found["process"]


def test_a_debugger_that_writes_into_its_target_is_told_of_the_target(web: Shop, image: Image) -> None:
    """It shares the target's processes, and reaches its files through them; its own files are as they were."""
    pod = web.pods("web")[0]["metadata"]["name"]
    # A container that is new in a pod has all of the pod looked at once: what is found then is told without who did it.
    script = f"sleep 20; (echo owned >/proc/1/root{PAGE}); sleep 1d"
    words = ("-c", "debugger", "--target=web", "--profile=general", f"--image={image.digest}")
    web.kubectl("debug", pod, *words, "--", "sh", "-c", script)
    found = wait_finding(web, PAGE)
    assert (found["change"], found["container_name"]) == ("Modified", "web")
    assert found["process"].startswith("/bin/busybox "), found["process"]
    debugger = f"{web.namespace}/{pod}/debugger"
    eventually(lambda: web.installed.covered().get(debugger, {}).get("verdict") == "Intact", PATIENCE_S)


def test_a_stopped_agent_is_missed_and_what_was_done_meanwhile_is_found_when_it_goes_on(installed: Installed, stopped: Stopped) -> None:
    shop, node = stopped.shop, stopped.node
    pod = shop.tamper("unwatched")
    name = f"{shop.namespace}/{pod['metadata']['name']}/web"

    def is_missed() -> bool:
        covered = installed.covered()[name]
        return (covered["verdict"], covered.get("reason")) == ("Unobserved", "its node reports nothing")

    eventually(is_missed, MISSED_S)
    eventually(lambda: bool(installed.receivers.lines("reported nothing", node)), PATIENCE_S)
    assert shop.incidents() == [], "it is not there to tell"
    stopped.signal("CONT")
    shop.wait_incident("unwatched", lambda status: PAGE in {one["path"] for one in status["paths"]}, PATIENCE_S)

    def gap() -> bool:
        return any(leaf["node"] == node and "watch did not run" in leaf["body"]["reason"] for leaf in installed.recorded("Gap"))

    eventually(gap, PATIENCE_S)
    eventually(lambda: installed.covered()[name]["verdict"] == "Drifted", PATIENCE_S)
