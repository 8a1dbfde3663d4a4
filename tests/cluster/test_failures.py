"""What goes wrong around Intact: a dead controller, a killed agent, a dead registry, an image that was tampered with on the node itself.

No finding is lost and none is counted twice, nothing is said to be known that is not, and everything heals.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.images import BUSYBOX
from lab.layers import file
from tests.cluster.kubernetes import eventually
from tests.cluster.whole import ENDED, PAGE, SYSTEM, Image, Installed, Shop

FILES = 12


@pytest.fixture(scope="module")
def image(installed: Installed) -> Image:
    return installed.push("v1")


def drop(shop: Shop, app: str, name: str, *, count: int = FILES, pause_s: float = 0) -> set[str]:
    """Drops `count` files where nobody may add any, one after the other, and returns their paths."""
    paths = [f"/etc/cron.d/{name}-{number}" for number in range(count)]
    # Each is put in place whole: one that is seen empty first would rightly be two findings.
    written = (f"echo '* * * * * root id' >/tmp/whole; mv /tmp/whole {path}; sleep {pause_s}" for path in paths)
    script = "mkdir -p /tmp /etc/cron.d; " + "; ".join(written)
    shop.run_in(shop.pods(app)[0], script)
    return set(paths)


def recorded_paths(shop: Shop, app: str) -> Counter[str]:
    """How often each path has a finding in the audit log."""
    return Counter(leaf["body"]["path"] for leaf in shop.installed.recorded("Finding", f"{shop.namespace}/{app}"))


def wait_recorded(shop: Shop, app: str, paths: set[str], timeout_s: float = 90) -> Counter[str]:
    def all_recorded() -> Counter[str] | None:
        found = recorded_paths(shop, app)
        return found if paths <= found.keys() else None

    return eventually(all_recorded, timeout_s)


def waiting_reports(installed: Installed, node: str) -> list[Path]:
    return list((installed.cluster.plan.node(installed.node_number(node)).state / "var/lib/intact/spool").glob("*.report"))


def test_a_dead_controller_loses_no_finding_and_doubles_none(installed: Installed, shop: Shop, image: Image) -> None:
    shop.deploy("web", image.digest)
    shop.wait_intact("web")
    node = shop.pods("web")[0]["spec"]["nodeName"]
    with installed.without_controller():
        paths = drop(shop, "web", "orphan", pause_s=0.1)
        eventually(lambda: len(waiting_reports(installed, node)) > 0)
        assert shop.incidents() == []
        waiting = waiting_reports(installed, node)
    assert waiting
    found = wait_recorded(shop, "web", paths)
    assert found == Counter(paths)
    incident = shop.wait_incident("web", lambda status: status["count"] >= FILES)
    assert incident["status"]["count"] == FILES and len(shop.incidents()) == 1
    assert len(shop.alerts("web", "IncidentOpened")) == 1
    eventually(lambda: not waiting_reports(installed, node), 60)


def test_an_agent_killed_in_the_middle_of_an_incident_loses_nothing_and_the_gap_is_recorded(
    installed: Installed, shop: Shop, image: Image
) -> None:
    shop.deploy("web", image.digest)
    node = shop.pods("web")[0]["spec"]["nodeName"]
    gaps = _gaps(installed, node)
    before = drop(shop, "web", "before", count=4)
    shop.wait_incident("web")
    _kill_agent(installed, node)
    amid = drop(shop, "web", "amid", pause_s=0.1)
    wait_recorded(shop, "web", before | amid)
    after = drop(shop, "web", "after", count=1)
    found = wait_recorded(shop, "web", before | amid | after)
    assert found == Counter(before | amid | after)
    assert shop.wait_incident("web", lambda status: status["count"] >= len(found))["status"]["count"] == len(found)
    assert len(shop.incidents()) == len(shop.alerts("web", "IncidentOpened")) == 1
    eventually(lambda: _gaps(installed, node) > gaps, 30)


def _gaps(installed: Installed, node: str) -> int:
    return sum(leaf["node"] == node and "nothing watched this node" in leaf["body"]["reason"] for leaf in installed.recorded("Gap"))


def _kill_agent(installed: Installed, node: str) -> None:
    """`kill -9` on the node."""
    number = installed.node_number(node)
    listed = installed.cluster.run_on_node("ps", "-eo", "pid,args", node_number=number).stdout.splitlines()
    (pid,) = [line.split()[0] for line in listed if line.split()[1:] == ["/usr/bin/python3", "-IB", "-m", "intact", "agent"]]
    installed.cluster.run_on_node("kill", "-9", pid, node_number=number)


@contextmanager
def registry_dead_to_controller(installed: Installed) -> Iterator[None]:
    """The nodes pull images as before; the controller's connections to the registry are refused."""
    (controller,) = installed.read("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=controller")["items"]
    address, _, port = installed.cluster.registry.partition(":")
    rule = ("ip", "saddr", controller["status"]["podIP"], "ip", "daddr", address, "tcp", "dport", port, "reject")
    number = installed.node_number(controller["spec"]["nodeName"])

    def nft(*words: str) -> None:
        installed.cluster.run_on_node("nft", *words, node_number=number)

    nft("add", "table", "inet", "dead_registry")
    try:
        for hook in ("input", "forward"):
            nft("add", "chain", "inet", "dead_registry", hook, f"{{ type filter hook {hook} priority -300 ; }}")
            nft("add", "rule", "inet", "dead_registry", hook, *rule)
        yield
    finally:
        nft("delete", "table", "inet", "dead_registry")


def test_without_the_registry_the_nodes_word_is_told_as_such_and_not_acted_upon_until_it_is_back(installed: Installed, shop: Shop) -> None:
    image = installed.push("unread")
    key = f"sha256-{image.config.removeprefix('sha256:')}"

    def grade() -> str:
        return installed.kubectl("get", "imagebaseline", key, "--ignore-not-found", "-o", "jsonpath={.status.grade}")

    shop.policy("web", mode="Enforce", baseline={"require": "Verified"}, guard={"cooldown": "0s"})
    with registry_dead_to_controller(installed):
        shop.deploy("web", image.digest)
        before = shop.uids("web")
        shop.tamper("web")
        refused = shop.wait_phase("web", "RestartPod", "Refused")
        assert refused["status"]["message"] == "the baseline is only NodeReported, the policy requires Verified"
        assert shop.wait_alert("web", "IncidentOpened")["paths"][0]["path"] == PAGE
        (leaf,) = installed.recorded("Finding", f"{shop.namespace}/web")
        assert leaf["body"]["grade"] == "NodeReported"
        assert shop.uids("web") == before
        name = f"{shop.namespace}/{shop.pods('web')[0]['metadata']['name']}/web"
        eventually(lambda: installed.covered().get(name, {}).get("grade") == "NodeReported", 60)
        assert grade() in ("", "NodeReported")
    eventually(lambda: grade() == "Verified", 60)
    done = shop.wait_phase("web", "RestartPod", "Verified", timeout_s=90)
    assert not before & shop.uids("web") and done["status"]["phase"] in ENDED


def test_a_layer_changed_on_the_node_is_told_of_every_container_that_uses_it_and_never_acted_upon(installed: Installed, shop: Shop) -> None:
    tool = file(b"/usr/bin/tool", BUSYBOX.read_bytes(), 0o755)
    image = installed.push("layered", upper_layers=[[tool]])
    for app in ("one", "two"):
        shop.policy(app, mode="Enforce", guard={"cooldown": "0s"})
        shop.deploy(app, image.digest, nodeSelector={"kubernetes.io/hostname": "node3"})
    shop.wait_intact("one", "two")
    before = shop.uids("one") | shop.uids("two")
    (layer,) = [path for path in _layers(installed, "node3") if (path / "usr/bin/tool").exists()]
    (layer / "usr/bin/tool").write_bytes(b"#!/bin/sh\necho not the tool\n")
    for app in ("one", "two"):
        status = shop.wait_incident(app)["status"]
        assert (status["cause"], status["level"]) == ("Node", "High")
        assert [(path["path"], path["change"]) for path in status["paths"]] == [("/usr/bin/tool", "Modified")]
        assert shop.wait_alert(app, "IncidentOpened")["cause"] == "Node"
        (leaf,) = installed.recorded("Finding", f"{shop.namespace}/{app}")
        assert (leaf["body"]["scope"], leaf["node"]) == ("layers", "node3")
    time.sleep(2)
    assert shop.uids("one") | shop.uids("two") == before
    assert {phase for app in ("one", "two") for phase in shop.phases(app)} <= {"Refused"}


def _layers(installed: Installed, node: str) -> list[Path]:
    """The read-only layers on the node's disk, as somebody with root there sees them."""
    state = installed.cluster.plan.node(installed.node_number(node)).state
    snapshots = state / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    return [path / "fs" for path in snapshots.iterdir() if not (path / "fs/etc/resolv.conf").exists()]
