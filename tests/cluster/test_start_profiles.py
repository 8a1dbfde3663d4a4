"""What entry points do before their pods are ready alarms nobody, in no pod and after no restart; everything else still does."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster.kubernetes import eventually
from tests.cluster.whole import PAGE, Installed, Object, Shop

START = "sed -i s/shop/store/ /srv/site/index.html; echo debug >/etc/generated; sleep 5; echo >/tmp/ready; exec sleep 1d"
PROBE = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
PATHS = ["/etc/generated", PAGE]


@pytest.fixture(scope="module")
def shop(installed: Installed) -> Iterator[Shop]:
    """A Deployment of two pods whose entry point edits files of the image before its pods are ready."""
    with installed.shop() as shop:
        image = installed.push("v1", command=("/bin/sh", "-c", START)).tag
        container: Object = {"name": "web", "image": image, "readinessProbe": PROBE}
        shop.deploy("web", image, replicas=2, containers=[container])
        yield shop


def are_recorded(installed: Installed, shop: Shop, templates: int) -> bool:
    """Whether each of so many templates has a first telling and an established profile that names all `PATHS`, once. A look in the middle
    of `sed -i` or of the entry point tells less at first, and may hold a temporary file back."""
    leaves = [leaf["body"] for leaf in installed.recorded("StartProfile", f"{shop.namespace}/web")]
    told = [(body["verb"], [one["path"] for one in body["paths"]]) for body in leaves if body["verb"] != "Held"]
    assert len(told) <= 2 * templates, told
    is_whole = all(set(paths) <= set(PATHS) if verb == "First" else paths == PATHS for verb, paths in told)
    assert is_whole and [verb for verb, _ in told] == [*("First", "Established") * templates][: len(told)], told
    return len(told) == 2 * templates


def test_entry_points_alarm_nobody_and_are_recorded_once(installed: Installed, shop: Shop) -> None:
    eventually(lambda: are_recorded(installed, shop, 1), 60)
    shop.kubectl("rollout", "restart", "deployment/web")  # a new template: it is learnt anew
    shop.wait_rolled_out("web")
    eventually(lambda: are_recorded(installed, shop, 2), 120)
    assert not told(shop) & set(PATHS)
    eventually(lambda: shown(installed, shop) == {"Expected"}, 120)
    eventually(lambda: installed.intact("status", "-n", shop.namespace).returncode == 0, 120)


def test_a_pod_that_starts_otherwise_than_the_others_is_told(shop: Shop) -> None:
    before = shop.uids("web")
    shop.kubectl("scale", "deployment/web", "--replicas=3")
    new = eventually(lambda: next((pod for pod in shop.pods("web") if pod["metadata"]["uid"] not in before and is_running(pod)), None), 60)
    shop.run_in(new, "rm /etc/version")  # while its entry point still waits
    eventually(lambda: "/etc/version" in told(shop), 90)
    shop.wait_rolled_out("web")
    time.sleep(2)
    assert not told(shop) & set(PATHS), "the rest is as in the others"


def test_a_path_of_the_profile_that_is_changed_after_ready_is_told(shop: Shop) -> None:
    shop.run_in(shop.pods("web")[0], f"echo owned >{PAGE}")
    eventually(lambda: PAGE in told(shop), 90)


def shown(installed: Installed, shop: Shop) -> set[str]:
    """What the nodes' status says of the Deployment's containers."""
    covered = installed.covered()
    return {str(covered.get(f"{shop.namespace}/{pod['metadata']['name']}/web", {}).get("verdict")) for pod in shop.pods("web")}


def told(shop: Shop) -> set[str]:
    """The paths of all incidents of the Deployment."""
    return {one["path"] for incident in shop.incidents("web") for one in incident["status"].get("paths", [])}


def is_running(pod: Object) -> bool:
    return any("running" in one.get("state", {}) for one in pod.get("status", {}).get("containerStatuses", []))
