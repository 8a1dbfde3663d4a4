"""Three replicas of the controller on one PostgreSQL: reports come in through any of them, one acts, and killing that one loses nothing."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from demo.receivers import Receivers
from lab.cluster import Cluster
from lab.install import NAMESPACE, install
from lab.pki import issue_server_certificate
from lab.postgres import Postgres
from tests.cluster.kubernetes import eventually
from tests.cluster.test_failures import drop, recorded_paths, wait_recorded
from tests.cluster.whole import SYSTEM, Image, Installed, Object, Shop

REPLICAS = 3
CONTROLLER = "app.kubernetes.io/component=controller"
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def replicated(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A cluster of its own, of two nodes, and a PostgreSQL with TLS that its pods reach; INTACT_TEST_CLUSTER=ID uses one that is up."""
    with ExitStack() as stack:
        id = os.environ.get("INTACT_TEST_CLUSTER")
        cluster = Cluster.running(int(id)) if id else stack.enter_context(Cluster(nodes=2))
        directory = tmp_path_factory.mktemp("replicas")
        certificate, key, authority = issue_server_certificate(directory, cluster.host_ip)
        server = stack.enter_context(Postgres(host=cluster.host_ip, certificate=certificate.read_bytes(), key=key.read_bytes()))
        server.query("create database intact")
        receivers = stack.enter_context(Receivers(cluster.host_ip, directory / "receivers"))
        cluster.kubectl("create", "namespace", NAMESPACE, check=False)
        make_secret(cluster, "intact-database", f"--from-literal=url={server.network_url('intact')}")
        make_secret(cluster, "intact-database-ca", f"--from-file=ca.crt={authority}")
        settings = {
            "database.secretName": "intact-database",
            "database.caSecretName": "intact-database-ca",
            "notify.webhook.url": receivers.webhook,
        }
        install(cluster, values=settings, arguments=["--set", f"controller.replicas={REPLICAS}"])
        yield Installed(cluster, receivers, directory)


def make_secret(cluster: Cluster, name: str, content: str) -> None:
    cluster.kubectl("-n", NAMESPACE, "delete", "secret", name, "--ignore-not-found")
    cluster.kubectl("-n", NAMESPACE, "create", "secret", "generic", name, content)


@pytest.fixture(scope="module")
def image(replicated: Installed) -> Image:
    return replicated.push("v1")


@pytest.fixture
def shop(replicated: Installed) -> Iterator[Shop]:
    with replicated.shop() as shop:
        yield shop


def controllers(installed: Installed) -> list[Object]:
    pods = installed.read("pods", "-n", SYSTEM, "-l", CONTROLLER)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", []))


def acting(installed: Installed) -> str:
    """The pod that holds the Lease."""
    return str(installed.read("lease", "intact-controller", "-n", SYSTEM)["spec"]["holderIdentity"])


def verify_record(installed: Installed, directory: Path) -> None:
    export, key = directory / "log.jsonl", directory / "audit.pub"
    key.write_text(installed.read("configmap", "intact-ca", "-n", SYSTEM)["data"]["audit.pub"])
    done = installed.intact("audit", "export", "--cluster", "-o", str(export))
    assert done.returncode == 0, done.stderr
    proven = installed.intact("audit", "verify", str(export), "--key", str(key))
    assert proven.returncode == 0, proven.stderr


@contextmanager
def deaf(installed: Installed, name: str) -> Iterator[None]:
    """Nobody reaches the API of this controller pod; the pod itself reaches everything."""
    (pod,) = [one for one in controllers(installed) if one["metadata"]["name"] == name]
    number = installed.node_number(pod["spec"]["nodeName"])

    def nft(*words: str) -> None:
        installed.cluster.run_on_node("nft", *words, node_number=number)

    nft("add", "table", "inet", "deaf")
    try:
        for hook in ("input", "forward", "output"):
            nft("add", "chain", "inet", "deaf", hook, f"{{ type filter hook {hook} priority -300 ; }}")
            nft("add", "rule", "inet", "deaf", hook, "ip", "daddr", pod["status"]["podIP"], "tcp", "dport", "8443", "reject")
        yield
    finally:
        nft("delete", "table", "inet", "deaf")


def test_all_replicas_are_ready_and_one_acts(replicated: Installed) -> None:
    eventually(lambda: sum(map(is_ready, controllers(replicated))) == REPLICAS, PATIENCE_S)
    pods = controllers(replicated)
    assert acting(replicated) in {pod["metadata"]["name"] for pod in pods}
    assert len({pod["spec"]["nodeName"] for pod in pods}) >= 2
    assert replicated.kubectl("-n", SYSTEM, "get", "pvc", "-o", "name").strip() == ""


def test_a_report_through_a_replica_that_does_not_act_becomes_an_incident(replicated: Installed, shop: Shop, image: Image) -> None:
    shop.deploy("web", image.digest)
    shop.wait_intact("web", timeout_s=PATIENCE_S)
    with deaf(replicated, acting(replicated)):
        paths = drop(shop, "web", "aside", count=3)
        assert wait_recorded(shop, "web", paths, PATIENCE_S) == Counter(paths)
    incident = shop.wait_incident("web", lambda status: status["count"] >= len(paths), PATIENCE_S)
    assert incident["status"]["count"] == len(paths)
    assert len(shop.alerts("web", "IncidentOpened")) == 1


def test_killing_the_replica_that_acts_loses_nothing_and_doubles_nothing(
    replicated: Installed, shop: Shop, image: Image, tmp_path: Path
) -> None:
    shop.deploy("web", image.digest)
    shop.wait_intact("web", timeout_s=PATIENCE_S)
    before = drop(shop, "web", "before", count=3)
    wait_recorded(shop, "web", before, PATIENCE_S)
    amid: set[str] = set()
    dropping = threading.Thread(target=lambda: amid.update(drop(shop, "web", "amid", count=20, pause_s=0.5)))
    dropping.start()
    eventually(lambda: len(recorded_paths(shop, "web")) > len(before), PATIENCE_S)
    killed = acting(replicated)
    replicated.kubectl("-n", SYSTEM, "delete", "pod", killed, "--grace-period=0", "--force")
    dropping.join()
    after = drop(shop, "web", "after", count=3)
    everything = before | amid | after
    assert wait_recorded(shop, "web", everything, PATIENCE_S) == Counter(everything), replicated.recorded(
        "Finding", f"{shop.namespace}/web"
    )
    assert acting(replicated) != killed
    incident = shop.wait_incident("web", lambda status: status["count"] >= len(everything), PATIENCE_S)
    assert incident["status"]["count"] == len(everything) and len(shop.incidents()) == 1
    assert len(shop.alerts("web", "IncidentOpened")) == 1
    verify_record(replicated, tmp_path)
    eventually(lambda: sum(map(is_ready, controllers(replicated))) == REPLICAS, PATIENCE_S)


def test_a_cure_is_carried_out_once_although_the_replica_that_decided_it_died(replicated: Installed, shop: Shop, image: Image) -> None:
    shop.policy("web", mode="Enforce", guard={"cooldown": "0s"})
    shop.deploy("web", image.digest)
    shop.wait_intact("web", timeout_s=PATIENCE_S)
    before = shop.uids("web")
    shop.tamper("web")
    eventually(lambda: shop.remediations("web", "RestartPod"), PATIENCE_S)
    replicated.kubectl("-n", SYSTEM, "delete", "pod", acting(replicated), "--grace-period=0", "--force")
    shop.wait_phase("web", "RestartPod", "Verified", timeout_s=PATIENCE_S)
    assert not before & shop.uids("web")
    assert [phase for phase in shop.phases("web", "RestartPod") if phase != "Refused"] == ["Verified"]
