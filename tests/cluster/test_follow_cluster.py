"""Following a real API server through its death, electing who acts, and telling people where they look."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.adapters.cluster.api import Api
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.events import KubernetesEvents
from intact.adapters.cluster.kinds import CONFIG_MAP, LEASE, POD
from intact.adapters.cluster.lease import DURATION_S, LeaderElection
from intact.adapters.cluster.reflector import ApiSource, Reflector
from intact.adapters.cluster.shapes import Metadata, PodShape
from intact.model.alert import Alert, AlertKind
from intact.model.errors import TemporaryError
from intact.model.finding import Level
from intact.model.incident import Workload
from lab.cluster import Cluster
from tests.cluster.kubernetes import admin, apply, as_controller, eventually, fresh_namespace, install_chart


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with fresh_namespace(cluster) as name:
        yield name


@contextmanager
def running(*reflectors: Reflector[PodShape]) -> Iterator[None]:
    threads = [threading.Thread(target=r.run, daemon=True) for r in reflectors]
    for thread in threads:
        thread.start()
    try:
        assert all(r.synced.wait(15) for r in reflectors)
        yield
    finally:
        for reflector in reflectors:
            reflector.stop()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)


def idle_pod(name: str, namespace: str) -> dict[str, object]:
    """A pod that no node takes: the API server alone is tested here."""
    container = {"name": "a", "image": "none.invalid/a"}
    spec = {"containers": [container], "nodeSelector": {"no": "node"}, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def names(cache: ClusterCache, namespace: str) -> set[str]:
    return {p.name for p in cache.all_pods() if p.namespace == namespace}


def find_api_server(cluster: Cluster) -> tuple[int, list[str]]:
    own = str(cluster.state).encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")[:-1]
        except OSError:
            continue
        if words and words[0].endswith(b"/kube-apiserver") and any(own in word for word in words):
            return int(entry.parent.name), [os.fsdecode(word) for word in words]
    raise AssertionError("no API server of this cluster runs")


def test_the_copy_survives_the_death_of_the_api_server(cluster: Cluster, namespace: str) -> None:
    cache = ClusterCache()
    reflector = Reflector(ApiSource(admin(cluster), POD, PodShape), cache.pods)
    with running(reflector):
        apply(cluster, idle_pod("before", namespace))
        eventually(lambda: "before" in names(cache, namespace))
        pid, command = find_api_server(cluster)
        os.kill(pid, signal.SIGKILL)
        time.sleep(2)
        assert names(cache, namespace) == {"before"}
        again = f"setsid {shlex.join(command)} >>{cluster.state}/apiserver-again.log 2>&1 </dev/null &"
        cluster.run_on_node("sh", "-c", again)
        eventually(lambda: cluster.kubectl("get", "--raw", "/readyz", check=False) == "ok", 60)
        apply(cluster, idle_pod("after", namespace))
        cluster.kubectl("delete", "pod", "before", "-n", namespace, "--force", "--grace-period=0")
        eventually(lambda: names(cache, namespace) == {"after"}, 30)


def test_a_list_of_many_pages_is_whole(cluster: Cluster, namespace: str) -> None:
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n}", "namespace": namespace}} for n in range(23)]
    apply(cluster, *maps)
    api = admin(cluster)
    pages = list(api.pages(CONFIG_MAP, dict[str, object], namespace=namespace, limit=5))
    assert len(pages) >= 5
    assert {f"c{n}" for n in range(23)} <= {str(one["metadata"]["name"]) for _, page in pages for one in page}


def candidate(cluster: Cluster, namespace: str, identity: str) -> LeaderElection:
    return LeaderElection(admin(cluster), namespace=namespace, name="act", identity=identity)


def test_of_two_candidates_one_acts_and_the_other_takes_over(cluster: Cluster, namespace: str) -> None:
    first, second = candidate(cluster, namespace, "first"), candidate(cluster, namespace, "second")
    first.step()
    second.step()
    assert (first.is_acting, second.is_acting) == (True, False)
    first.check()
    with pytest.raises(TemporaryError) as refused:
        second.check()
    assert refused.value.code == "NotActing"
    died = time.monotonic()

    def takes_over() -> bool:
        second.step()
        return second.is_acting

    eventually(takes_over, DURATION_S + 10)
    took_s = time.monotonic() - died
    assert DURATION_S - 1 <= took_s <= DURATION_S + 5
    assert not first.is_acting
    first.step()
    assert not first.is_acting
    lease = admin(cluster).get(LEASE, "act", namespace)
    assert lease is not None and lease["spec"]["leaseTransitions"] == 2


def test_a_candidate_that_ends_gives_the_lease_back(cluster: Cluster, namespace: str) -> None:
    first, second = candidate(cluster, namespace, "first"), candidate(cluster, namespace, "second")
    thread = threading.Thread(target=first.run)
    thread.start()
    eventually(lambda: first.is_acting)
    first.stop()
    thread.join(10)
    second.step()
    assert second.is_acting and not first.is_acting


def test_writes_stop_when_the_lease_is_lost(cluster: Cluster, namespace: str) -> None:
    now = [0.0]
    holder = LeaderElection(admin(cluster), namespace=namespace, name="act", identity="me", clock=lambda: now[0])
    api = admin(cluster)
    api.fence = holder.check
    holder.step()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}}
    api.create(CONFIG_MAP, body)
    now[0] = 11.0
    with pytest.raises(TemporaryError):
        api.delete(CONFIG_MAP, "a", namespace)
    assert api.get(CONFIG_MAP, "a", namespace) is not None


def test_an_alert_is_an_event_on_workload_and_pod_once(cluster: Cluster, namespace: str) -> None:
    install_chart(cluster)
    api: Api = as_controller(cluster)
    apply(cluster, idle_pod("web-1", namespace))
    found = api.get(POD, "web-1", namespace)
    assert found is not None
    uid = Metadata(uid=found["metadata"]["uid"]).uid
    alert = Alert(
        id="a1",
        kind=AlertKind.OPENED,
        at=time.time(),
        level=Level.HIGH,
        summary="web differs from its image: " + "ä" * 2000,
        workload=Workload(kind="Deployment", namespace=namespace, name="web", uid="d1"),
        pods=("web-1",),
    )
    sink = KubernetesEvents(api, instance="controller-0", pod_uid=lambda _, name: uid if name == "web-1" else "")
    sink.send(alert)
    sink.send(alert)
    listed = json.loads(cluster.kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
    ours = [e for e in listed if e["reason"] == "IncidentOpened"]
    assert sorted(e["involvedObject"]["kind"] for e in ours) == ["Deployment", "Pod"]
    assert all(e["type"] == "Warning" for e in ours)
    assert "IncidentOpened" in cluster.kubectl("describe", "pod", "web-1", "-n", namespace)


def test_an_alert_about_a_namespace_that_is_gone_does_not_stick(cluster: Cluster) -> None:
    install_chart(cluster)
    workload = Workload(kind="Deployment", namespace="no-such-namespace", name="web", uid="d1")
    alert = Alert(id="a2", kind=AlertKind.RESOLVED, at=time.time(), level=Level.HIGH, summary="gone", workload=workload)
    KubernetesEvents(as_controller(cluster), instance="controller-0", pod_uid=lambda *_: "").send(alert)


def test_a_forged_report_is_an_event_on_the_node(cluster: Cluster) -> None:
    install_chart(cluster)
    alert = Alert(id=f"a{time.time()}", kind=AlertKind.FORGED, at=time.time(), level=Level.CRITICAL, summary="forged", nodes=("node1",))
    KubernetesEvents(as_controller(cluster), instance="controller-0", pod_uid=lambda *_: "").send(alert)
    events = cluster.kubectl("get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}")
    assert "ForgedReport" in events
