"""What entry points do before their pods are ready alarms nobody, in no pod and after no restart; everything else still does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.kubernetes import eventually
from tests.cluster.whole import PAGE, Installed, Object, Shop

START = "sed -i s/shop/store/ /srv/site/index.html; echo debug >/etc/generated; sleep 5; echo >/tmp/ready; exec sleep 1d"
PROBE = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}


def started(installed: Installed, shop: Shop, name: str, *, script: str = START) -> str:
    """A Deployment of two pods whose entry point edits files of the image before its pods are ready. Returns its image."""
    image = installed.push("v1", command=("/bin/sh", "-c", script)).tag
    container: Object = {"name": "web", "image": image, "readinessProbe": PROBE}
    shop.deploy(name, image, replicas=2, containers=[container])
    return image


def profiles(installed: Installed, shop: Shop, name: str) -> list[tuple[Any, Any]]:
    leaves = installed.recorded("StartProfile", f"{shop.namespace}/{name}")
    return [(leaf["body"]["verb"], [one["path"] for one in leaf["body"]["paths"]]) for leaf in leaves]


@pytest.fixture(scope="module")
def steady(installed: Installed) -> Any:
    with installed.shop() as shop:
        started(installed, shop, "web")
        yield shop


def test_entry_points_alarm_nobody_and_are_recorded_once(installed: Installed, steady: Shop) -> None:
    paths = ["/etc/generated", PAGE]
    told = eventually(lambda: len(found := profiles(installed, steady, "web")) == 2 and found, 60)
    assert told == [("First", paths), ("Established", paths)]
    steady.kubectl("rollout", "restart", "deployment/web")  # a new template: it is learnt anew
    steady.wait_rolled_out("web")
    steady.kubectl("scale", "deployment/web", "--replicas=4")
    steady.wait_rolled_out("web")
    time.sleep(3)
    assert steady.incidents() == [] and steady.alerts("web") == []


def test_the_same_path_changed_after_ready_is_told(installed: Installed, steady: Shop) -> None:
    pod = steady.pods("web")[0]
    steady.run_in(pod, f"echo owned >{PAGE}")
    assert [one["path"] for one in steady.wait_incident("web")["status"]["paths"]] == [PAGE]


def test_a_pod_that_starts_otherwise_than_the_others_is_told(installed: Installed, shop: Shop) -> None:
    started(installed, shop, "plain")
    eventually(lambda: ("Established", ["/etc/generated", PAGE]) in profiles(installed, shop, "plain"), 60)
    before = shop.uids("plain")
    shop.kubectl("scale", "deployment/plain", "--replicas=3")
    new = eventually(lambda: next((one for one in shop.pods("plain") if one["metadata"]["uid"] not in before and running(one)), None), 60)
    shop.run_in(new, "echo evil >/etc/evil")  # before it is ready: the entry point waits
    status = shop.wait_incident("plain")["status"]
    assert [one["path"] for one in status["paths"]] == ["/etc/evil"] and status["podCount"] == 1


def running(pod: Object) -> bool:
    return any("running" in one.get("state", {}) for one in pod.get("status", {}).get("containerStatuses", []))
