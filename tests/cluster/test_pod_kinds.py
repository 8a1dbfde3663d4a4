"""Every kind of pod is watched: user-namespaced and read-only ones, init, sidecar and ephemeral containers, pods whose containers share
their processes, static pods, images of very many layers. On a node with a newer container runtime than the distribution's."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator

import pytest

from demo.receivers import Receivers
from lab.cluster import Cluster
from lab.install import install
from lab.layers import file
from lab.nodefiles import STATIC_PODS
from tests.cluster.kubernetes import apply, eventually
from tests.cluster.whole import PAGE, SYSTEM, Image, Installed, Object, Shop

pytestmark = pytest.mark.timeout(600)

PATIENCE_S = 120.0
LAYERS = 110
"""Beside the first: mount(8) then names directories relative to one that is not the root of the table."""


@pytest.fixture(scope="module")
def newer(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """INTACT_TEST_NEWER_CLUSTER=ID uses the one that is up (`python -m lab up --id ID --newer-runtime`)."""
    if id := os.environ.get("INTACT_TEST_NEWER_CLUSTER"):
        yield from _install(Cluster.running(int(id)), tmp_path_factory)
        return
    with Cluster(newer_runtime=True) as cluster:
        yield from _install(cluster, tmp_path_factory)


def _install(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with Receivers(cluster.host_ip, tmp_path_factory.mktemp("alerts") / "receivers") as receivers:
        install(cluster, values={"notify.webhook.url": receivers.webhook, "registries.insecure[0]": cluster.registry})
        yield Installed(cluster, receivers, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def image(newer: Installed) -> Image:
    return newer.push("v1")


@pytest.fixture
def shop(newer: Installed) -> Iterator[Shop]:
    with newer.shop() as shop:
        yield shop


def start(shop: Shop, name: str, **spec: object) -> Object:
    """A pod of its own, running."""
    apply(shop.installed.cluster, describe_pod(shop.namespace, name, **spec))
    shop.kubectl("wait", "pod", name, "--for=condition=Ready", f"--timeout={PATIENCE_S:.0f}s")
    return dict(shop.installed.read("pod", name, "-n", shop.namespace))


def describe_pod(namespace: str, name: str, **spec: object) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"terminationGracePeriodSeconds": 0, **spec}}


def wait_verdict(installed: Installed, name: str, verdict: str) -> Object:
    """`name` as `namespace/pod/container`."""

    def covered() -> Object | None:
        found = installed.covered().get(name, {})
        return found if found.get("verdict") == verdict else None

    try:
        return eventually(covered, PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{name} is not {verdict}: {installed.covered().get(name)}") from None


def findings(shop: Shop, workload: str) -> list[Object]:
    return [leaf["body"] for leaf in shop.installed.recorded("Finding", f"{shop.namespace}/{workload}")]


def wait_finding(shop: Shop, workload: str, path: str) -> Object:
    def recorded() -> Object | None:
        return next((one for one in findings(shop, workload) if one["path"] == path), None)

    return eventually(recorded, PATIENCE_S)


def test_a_pod_in_a_user_namespace_is_compared_with_its_own_ids(newer: Installed, shop: Shop, image: Image) -> None:
    pod = start(shop, "mapped", hostUsers=False, containers=[{"name": "web", "image": image.digest}])
    assert shop.run_in(pod, "cat /proc/self/uid_map").split()[1] != "0", "this pod has no user namespace of its own"
    wait_verdict(newer, f"{shop.namespace}/mapped/web", "Intact")
    shop.run_in(pod, f"touch {PAGE}; chown 0:0 /etc/version")
    shop.run_in(pod, "chown 7:8 /etc/group; echo x >/usr/bin/tool; chmod 4755 /usr/bin/tool")
    assert wait_finding(shop, "mapped", "/usr/bin/tool")["level"] == "Critical"
    owner = wait_finding(shop, "mapped", "/etc/group")
    assert (owner["actual"]["uid"], owner["actual"]["gid"]) == (7, 8)
    assert {one["path"] for one in findings(shop, "mapped")} == {"/usr/bin/tool", "/etc/group"}


def test_a_read_only_root_is_intact(newer: Installed, shop: Shop, image: Image) -> None:
    start(shop, "fixed", containers=[{"name": "web", "image": image.digest, "securityContext": {"readOnlyRootFilesystem": True}}])
    wait_verdict(newer, f"{shop.namespace}/fixed/web", "Intact")
    assert findings(shop, "fixed") == []


def test_init_sidecar_and_ephemeral_containers_are_watched_each_by_its_name(newer: Installed, shop: Shop, image: Image) -> None:
    change = "echo {0} >/usr/bin/by-{0}"
    inits = [
        {"name": "first", "image": image.digest, "command": ["sh", "-c", change.format("first")]},
        {"name": "beside", "image": image.digest, "restartPolicy": "Always"},
    ]
    pod = start(shop, "many", initContainers=inits, containers=[{"name": "web", "image": image.digest}])
    shop.kubectl("debug", "many", f"--image={image.digest}", "--container=doctor", "--profile=general", "--", "sleep", "1d")

    def doctor_runs() -> bool:
        status = newer.read("pod", "many", "-n", shop.namespace)["status"]
        return any("running" in one["state"] for one in status.get("ephemeralContainerStatuses", []))

    eventually(doctor_runs, PATIENCE_S)
    for container in ("beside", "doctor"):
        wait_verdict(newer, f"{shop.namespace}/many/{container}", "Intact")
        shop.run_in(pod, change.format(container), container=container)
    for container in ("first", "beside", "doctor"):
        assert wait_finding(shop, "many", f"/usr/bin/by-{container}")["container_name"] == container


def test_a_change_through_a_shared_process_namespace_is_that_of_the_container_that_was_changed(
    newer: Installed, shop: Shop, image: Image
) -> None:
    containers = [
        {"name": "web", "image": image.digest, "command": ["sh", "-c", "exec sleep 11111"]},
        {"name": "other", "image": image.digest, "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}},
    ]
    pod = start(shop, "shared", shareProcessNamespace=True, containers=containers)
    for container in ("web", "other"):
        wait_verdict(newer, f"{shop.namespace}/shared/{container}", "Intact")
    of_web = "for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline | grep -q '^sleep 11111' && echo $one; done"
    shop.run_in(pod, f"echo owned >$({of_web})/root{PAGE}", container="other")
    assert wait_finding(shop, "shared", PAGE)["container_name"] == "web"
    assert newer.covered()[f"{shop.namespace}/shared/other"]["verdict"] == "Intact"


def test_a_static_pod_is_watched_like_any_other(newer: Installed, shop: Shop, image: Image) -> None:
    name = f"static-{uuid.uuid4().hex[:6]}"
    described = describe_pod("default", name, containers=[{"name": "web", "image": image.digest}])
    manifest = newer.cluster.plan.node(1).state / STATIC_PODS / f"{name}.json"
    manifest.write_text(json.dumps(described))
    try:
        wait_verdict(newer, f"default/{name}-node1/web", "Intact")
        newer.kubectl("-n", "default", "exec", f"{name}-node1", "--", "sh", "-c", f"echo owned >{PAGE}")
        wait_verdict(newer, f"default/{name}-node1/web", "Drifted")
    finally:
        manifest.unlink()


def test_a_container_of_more_than_a_hundred_layers_is_watched(newer: Installed, shop: Shop) -> None:
    image = newer.push("deep", upper_layers=[[file(f"/srv/layer-{n}".encode(), b"%d" % n)] for n in range(LAYERS)])
    pod = start(shop, "deep", containers=[{"name": "web", "image": image.digest}])
    wait_verdict(newer, f"{shop.namespace}/deep/web", "Intact")
    shop.run_in(pod, "echo changed >/srv/layer-7; rm /srv/layer-50")
    assert wait_finding(shop, "deep", "/srv/layer-7")["change"] == "Modified"
    assert wait_finding(shop, "deep", "/srv/layer-50")["change"] == "Deleted"


def test_nothing_of_intact_or_the_cluster_itself_differs(newer: Installed) -> None:
    """What this node runs beside the tests: the agent, the controller."""
    own = {name: one for name, one in newer.covered().items() if name.startswith(f"{SYSTEM}/")}
    assert own and {one["verdict"] for one in own.values()} == {"Intact"}, own
