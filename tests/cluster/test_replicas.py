"""Three replicas of the controller on one PostgreSQL and one bucket, through TLS. Reports come in through any of them, one acts, and
killing that one loses nothing; what one computed, all hand out; a backup of it becomes another installation."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from demo.receivers import Receivers
from intact.adapters.seam.https import Endpoint, HttpsCluster
from intact.model.digest import Digest
from lab.cluster import Cluster
from lab.install import NAMESPACE, install
from lab.layers import file
from lab.pki import issue_server_certificate
from lab.postgres import Postgres
from lab.s3 import ObjectServer
from tests.cluster.kubernetes import eventually
from tests.cluster.test_failures import drop, recorded_paths, wait_recorded
from tests.cluster.whole import SYSTEM, Image, Installed, Object, Shop

REPLICAS = 3
PREFIX = "prod"
CONTROLLER = "app.kubernetes.io/component=controller"
PATIENCE_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an installation remembers: a database, and a bucket for its tables."""

    postgres: Postgres
    objects: ObjectServer
    authority: Path
    database: str
    bucket: str

    @property
    def tables(self) -> set[str]:
        """The objects in the bucket."""
        directory = self.objects.objects / self.bucket / PREFIX / "tables"
        return {f"tables/{path.name}" for path in directory.iterdir()} if directory.exists() else set()

    def tables_of(self, image: Image) -> set[str]:
        """Those that the index has for it."""
        query = f"select object from layer_tables join baseline_tables using (root) where key = '{image.config}'"
        return set(self.postgres.query(query, self.database))

    @property
    def environment(self) -> dict[str, str]:
        """By which the command finds it, from outside of the cluster."""
        return {
            **self.objects.environment,
            "INTACT_DATABASE_URL": self.postgres.network_url(self.database),
            "INTACT_DATABASE_CA_FILE": str(self.authority),
            "INTACT_OBJECTS_URL": f"s3://{self.bucket}/{PREFIX}",
            "INTACT_OBJECTS_ENDPOINT": self.objects.endpoint,
            "INTACT_OBJECTS_CA_FILE": str(self.authority),
        }

    def make_another(self) -> Place:
        """An empty one on the same servers."""
        self.postgres.query("create database another")
        return replace(self, database="another", bucket=self.objects.make_bucket())

    def install(self, cluster: Cluster, receivers: Receivers) -> None:
        secret = self.objects.environment
        make_secret(cluster, "intact-database", {"url": self.postgres.network_url(self.database)})
        make_secret(cluster, "intact-objects", secret)
        make_secret(cluster, "intact-servers-ca", {"ca.crt": self.authority.read_text()})
        settings = {
            "database.secretName": "intact-database",
            "database.caSecretName": "intact-servers-ca",
            "objects.url": f"s3://{self.bucket}/{PREFIX}",
            "objects.endpoint": self.objects.endpoint,
            "objects.secretName": "intact-objects",
            "objects.caSecretName": "intact-servers-ca",
            "notify.webhook.url": receivers.webhook,
        }
        install(cluster, values=settings, arguments=["--set", f"controller.replicas={REPLICAS}"])


@pytest.fixture(scope="module")
def servers(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Place]]:
    """A cluster of its own, of two nodes, and a PostgreSQL and an S3 server with TLS that its pods reach; INTACT_TEST_CLUSTER=ID uses one
    that is up."""
    with ExitStack() as stack:
        id = os.environ.get("INTACT_TEST_CLUSTER")
        cluster = Cluster.running(int(id)) if id else stack.enter_context(Cluster(nodes=2))
        certificate, key, authority = issue_server_certificate(tmp_path_factory.mktemp("authority"), cluster.host_ip)
        postgres = stack.enter_context(Postgres(host=cluster.host_ip, certificate=certificate.read_bytes(), key=key.read_bytes()))
        objects = stack.enter_context(ObjectServer(host=cluster.host_ip, certificate=certificate, key=key))
        postgres.query("create database intact")
        yield cluster, Place(postgres=postgres, objects=objects, authority=authority, database="intact", bucket=objects.make_bucket())


@pytest.fixture(scope="module")
def place(servers: tuple[Cluster, Place]) -> Place:
    return servers[1]


@pytest.fixture(scope="module")
def replicated(servers: tuple[Cluster, Place], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    cluster, place = servers
    directory = tmp_path_factory.mktemp("replicas")
    with Receivers(cluster.host_ip, directory / "receivers") as receivers:
        cluster.kubectl("create", "namespace", NAMESPACE, check=False)
        place.install(cluster, receivers)
        yield Installed(cluster, receivers, directory)


def make_secret(cluster: Cluster, name: str, content: dict[str, str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": content}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(secret))


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
    assert [one["restartCount"] for pod in pods for one in pod["status"]["containerStatuses"]] == [0] * REPLICAS
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


# -- the bucket ------------------------------------------------------------------------------------------------------


def wait_baseline(installed: Installed, image: Image) -> Object:
    """The cluster's own baseline of the image, as people see it."""
    name = image.config.replace(":", "-")

    def computed() -> Object | None:
        found = installed.kubectl("get", "imagebaseline", name, "--ignore-not-found", "-o", "json")
        described: Object = json.loads(found) if found else {}
        return described if described.get("status", {}).get("grade") == "Verified" else None

    return eventually(computed, PATIENCE_S)


@contextmanager
def speak_with(installed: Installed, pod: str, node: str, directory: Path) -> Iterator[HttpsCluster]:
    """The seam as the agent of `node` has it, to one controller pod."""
    agent = installed.agent_on(node)["metadata"]
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={agent['name']}", f"--bound-object-uid={agent['uid']}")
    ca, token = directory / "ca.crt", directory / "token"
    ca.write_text(installed.read("configmap", "intact-ca", "-n", SYSTEM)["data"]["ca.crt"])
    token.write_text(installed.kubectl("-n", SYSTEM, "create", "token", "intact-agent", "--audience=intact", *bound).strip())
    command = [str(installed.cluster.binaries / "kubectl"), "-n", SYSTEM, "port-forward", f"pod/{pod}", ":8443"]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=installed.cluster.environment, stdin=subprocess.DEVNULL)
    try:
        assert forward.stdout is not None
        port = int(forward.stdout.readline().split("->")[0].rpartition(":")[2])
        endpoint = Endpoint(url=f"https://127.0.0.1:{port}", server_name=f"intact-controller.{SYSTEM}.svc", ca_file=ca, token_file=token)
        seam = HttpsCluster(endpoint, node, time.time)
        yield seam
        seam.close()
    finally:
        forward.terminate()
        forward.wait(10)


def fetch_from_each(installed: Installed, image: Image, directory: Path) -> dict[str, bytes | None]:
    """What every replica hands out for the image, by pod."""
    documents = {}
    for pod in controllers(installed):
        name = pod["metadata"]["name"]
        with speak_with(installed, name, "node1", directory) as seam:
            documents[name] = seam.fetch_baseline(Digest.parse(image.config))
    return documents


def readers_of(installed: Installed, image: Image) -> list[str]:
    """From which addresses controllers asked the registry for the image's manifest: one for each time."""
    log = (installed.cluster.plan.node(1).state / "log/registry.log").read_text(errors="replace")
    repository, _, digest = image.digest.partition("/")[2].partition("@")
    wanted = f'"GET /v2/{repository}/manifests/{digest} '
    return [line.partition(" ")[0] for line in log.splitlines() if wanted in line and line.endswith('"intact"')]


def addresses_of(installed: Installed, name: str) -> set[str]:
    """Those that a registry sees of a controller pod: its own, or, from another node, that of its node."""
    (pod,) = [one for one in controllers(installed) if one["metadata"]["name"] == name]
    return {pod["status"]["podIP"], pod["status"]["hostIP"]}


def run_command(place: Place, *arguments: str | Path) -> str:
    """`intact` as an administrator calls it, beside the installation."""
    command = [sys.executable, "-m", "intact", *map(str, arguments)]
    env = {**os.environ, **place.environment}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_one_replica_computed_from_the_registry_all_hand_out(replicated: Installed, place: Place, shop: Shop, tmp_path: Path) -> None:
    image = replicated.push("once")
    shop.deploy("web", image.digest)
    assert wait_baseline(replicated, image)["status"]["source"] == f"docker://{image.digest}"
    assert place.tables_of(image) and place.tables_of(image) <= place.tables
    documents = fetch_from_each(replicated, image, tmp_path)
    assert len(documents) == REPLICAS and None not in documents.values()
    (reader,) = readers_of(replicated, image)
    assert reader in addresses_of(replicated, acting(replicated))
    shop.wait_intact("web", timeout_s=PATIENCE_S)


def test_an_outage_of_the_bucket_costs_no_finding(replicated: Installed, place: Place, shop: Shop, image: Image) -> None:
    shop.deploy("known", image.digest)
    wait_baseline(replicated, image)
    shop.wait_intact("known", timeout_s=PATIENCE_S)
    new = replicated.push("amid")
    place.objects.stop()
    try:
        shop.deploy("new", new.digest)
        shop.wait_intact("new", timeout_s=PATIENCE_S)
        paths = {app: drop(shop, app, app, count=3) for app in ("known", "new")}
        for app, dropped in paths.items():
            assert wait_recorded(shop, app, dropped, PATIENCE_S) == Counter(dropped)
            assert shop.wait_incident(app, lambda status: status["count"] >= 3, PATIENCE_S)["status"]["count"] == 3
        grades = {leaf["body"]["grade"] for leaf in replicated.recorded("Finding", f"{shop.namespace}/new")}
        assert grades == {"NodeReported"}
        assert sum(map(is_ready, controllers(replicated))) == REPLICAS
    finally:
        place.objects.start()
    wait_baseline(replicated, new)
    assert {app: len(shop.alerts(app, "IncidentOpened")) for app in paths} == {"known": 1, "new": 1}


def test_what_no_image_needed_for_a_month_leaves_the_bucket_and_what_others_share_stays(
    replicated: Installed, place: Place, shop: Shop, tmp_path: Path
) -> None:
    shared = [file(b"/srv/shared", b"shared")]
    kept, old = replicated.push("kept", upper_layers=[shared]), replicated.push("old", upper_layers=[shared])
    for name, image in (("kept", kept), ("old", old)):
        shop.deploy(name, image.digest)
    accepted = {kept.config, old.config}
    eventually(lambda: accepted <= {leaf["body"]["key"] for leaf in replicated.recorded("BaselineAccepted")}, PATIENCE_S)
    shop.kubectl("delete", "deployment", "old")
    staying, going = place.tables_of(kept), place.tables_of(old) - place.tables_of(kept)
    assert len(staying) == 2 and len(going) == 1 and staying | going <= place.tables
    place.postgres.query(f"update baselines set used_at = 1 where key = '{old.config}'", place.database)
    place.postgres.query("update layer_tables set stored_at = 1", place.database)
    told = run_command(place, "baseline", "gc", "--state-dir", tmp_path).splitlines()
    removed = {line.split()[1] for line in told[:-1]}
    assert removed == {old.config, *going}, told
    assert not going & place.tables and staying <= place.tables
    assert None not in fetch_from_each(replicated, kept, tmp_path).values()


# -- backup and restore: the last test, since the installation is another one then ----------------------------------------


def test_a_backup_becomes_an_installation_on_an_empty_database_and_an_empty_bucket(
    replicated: Installed, place: Place, shop: Shop, image: Image, tmp_path: Path
) -> None:
    shop.deploy("web", image.digest)
    wait_baseline(replicated, image)
    shop.wait_intact("web", timeout_s=PATIENCE_S)
    paths = drop(shop, "web", "before", count=2)
    wait_recorded(shop, "web", paths, PATIENCE_S)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    secret = replicated.read("secret", "intact-controller-keys", "-n", SYSTEM)["data"]
    for name in ("audit.pem", "audit.pub"):
        (keys / name).touch(0o600)
        (keys / name).write_bytes(base64.b64decode(secret[name]))
    backup = tmp_path / "backup.tar"
    run_command(place, "backup", "--state-dir", keys, "-o", backup, "--with-keys")
    replicated.scale_controller(0)

    another = place.make_another()
    told = run_command(another, "restore", backup, "--state-dir", tmp_path / "restored", "--trust", keys / "audit.pub")
    assert "audit log verified" in told and "a leaf behind them says that the log was restored" in told
    another.install(replicated.cluster, replicated.receivers)
    eventually(lambda: sum(map(is_ready, controllers(replicated))) == REPLICAS, PATIENCE_S)
    verify_record(replicated, tmp_path)
    assert len(replicated.recorded("Restored")) == 1
    assert recorded_paths(shop, "web") == Counter(paths)
    documents = fetch_from_each(replicated, image, tmp_path)
    assert None not in documents.values() and another.tables
    more = drop(shop, "web", "after", count=2)
    assert wait_recorded(shop, "web", paths | more, PATIENCE_S) == Counter(paths | more)
    incident = shop.wait_incident("web", lambda status: status["count"] >= 4, PATIENCE_S)
    assert incident["status"]["count"] == 4 and len(shop.incidents()) == 1
    verify_record(replicated, tmp_path)
