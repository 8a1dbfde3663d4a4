"""What the controller knows of pods without asking: whose they are, where they are, and what they ran."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from intact.adapters.cluster.cache import REMEMBER_GONE_S, ClusterCache, facts_of
from intact.adapters.cluster.revisions import record_pod
from intact.adapters.cluster.shapes import DeploymentShape, PodShape, ReplicaSetShape
from intact.model.incident import Workload

SHA, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="d1")


def pod(uid: str = "p1", **changes: Any) -> PodShape:
    raw: dict[str, Any] = {
        "metadata": {
            "name": f"web-{uid}",
            "namespace": "shop",
            "uid": uid,
            "labels": {"app": "web", "pod-template-hash": "h1"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-h1", "uid": "r1", "controller": True}],
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"anything": 1}],
        },
        "spec": {
            "nodeName": "node1",
            "containers": [{"name": "web", "image": "reg/web:1"}],
            "initContainers": [{"name": "setup", "image": "reg/setup:1"}, {"name": "mesh", "image": "m", "restartPolicy": "Always"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "web", "imageID": f"reg/web@{SHA}", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}
            ],
        },
    }
    raw["metadata"].update(changes)
    return msgspec.convert(raw, PodShape)


def test_since_when_a_pod_is_ready_and_from_which_template_it_was_made() -> None:
    cache = ClusterCache()
    ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}]}
    made = pod()
    made.status = msgspec.convert(ready, type(made.status))
    cache.pods.upsert(made)
    found = cache.facts("p1")
    assert found is not None
    assert (found.template, found.is_ready, found.ready_since) == ("h1", True, 1767225609.0)
    cache.pods.upsert(pod("p2", labels={"controller-revision-hash": "db-1"}))
    assert (cached := cache.facts("p2")) is not None and (cached.template, cached.ready_since) == ("db-1", 0.0)
    cache.pods.upsert(pod("p3", ownerReferences=[]))
    assert (bare := cache.facts("p3")) is not None and bare.template == "", "a label alone makes no template"


@pytest.mark.parametrize("probe", ["readinessProbe", "startupProbe"])
def test_whether_a_probe_says_when_a_pod_is_ready(probe: str) -> None:
    cache, probed = ClusterCache(), pod("p2")
    container = {"name": "web", "image": "reg/web:1", probe: {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 3}}
    probed.spec = msgspec.convert({"containers": [container]}, type(probed.spec))
    for one in (pod("p1"), probed):
        cache.pods.upsert(one)
    assert [facts.is_probed for uid in ("p1", "p2") if (facts := cache.facts(uid)) is not None] == [False, True]


REPLICA_SET = msgspec.convert(
    {
        "metadata": {
            "name": "web-h1",
            "namespace": "shop",
            "uid": "r1",
            "labels": {"pod-template-hash": "h1"},
            "annotations": {"deployment.kubernetes.io/revision": "4", "other": "x"},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d1", "controller": True}],
        }
    },
    ReplicaSetShape,
)


def make() -> ClusterCache:
    cache = ClusterCache()
    cache.replica_sets.replace_all([REPLICA_SET])
    cache.pods.replace_all([pod()])
    return cache


def test_a_pod_belongs_to_the_deployment_behind_its_replica_set() -> None:
    facts = make().facts("p1")
    assert facts is not None
    assert (facts.workload, facts.node, facts.revision) == (WEB, "node1", "h1")
    assert [p.uid for p in make().pods_of(WEB)] == ["p1"]


def test_the_replica_set_may_become_known_after_its_pod() -> None:
    cache = ClusterCache()
    cache.pods.upsert(pod())
    before = cache.facts("p1")
    assert before is not None and before.workload.kind == "ReplicaSet"
    cache.replica_sets.upsert(REPLICA_SET)
    after = cache.facts("p1")
    assert after is not None and after.workload == WEB


def test_a_bare_pod_is_its_own_workload() -> None:
    cache = ClusterCache()
    cache.pods.upsert(pod(ownerReferences=None))
    found = cache.pod("p1")
    assert found is not None
    assert facts_of(found).workload == Workload(kind="Pod", namespace="shop", name="web-p1", uid="p1")
    assert cache.pods_of(found.workload) == (found,)


def test_sidecars_count_as_running_containers_and_init_containers_do_not() -> None:
    found = make().pod("p1")
    assert found is not None
    assert [c.name for c in found.containers] == ["mesh", "web"]
    assert [c.name for c in found.init_containers] == ["setup"]


def test_a_mirror_pod_is_static() -> None:
    cache = ClusterCache()
    cache.pods.upsert(pod(annotations={"kubernetes.io/config.mirror": "x"}))
    found = cache.pod("p1")
    assert found is not None and found.static


def test_a_pod_that_is_gone_is_still_known_for_a_while() -> None:
    now = [0.0]
    cache = ClusterCache(clock=lambda: now[0])
    cache.pods.upsert(pod())
    cache.pods.remove(pod())
    assert cache.node_of("p1") == "node1"
    assert cache.pods_on("node1") == ()
    now[0] = REMEMBER_GONE_S + 1
    cache.pods.upsert(pod("p2"))
    cache.pods.remove(pod("p2"))
    assert cache.node_of("p1") is None


def test_a_new_list_drops_the_pods_that_are_not_in_it() -> None:
    cache = make()
    cache.pods.replace_all([pod("p2")])
    assert [p.uid for p in cache.pods_on("node1")] == ["p2"]


def test_each_change_is_told_once() -> None:
    told: list[str] = []
    cache = ClusterCache(on_pod=told.append)
    cache.pods.upsert(pod())
    cache.pods.upsert(pod())
    cache.pods.remove(pod())
    assert told == ["p1", "p1"]


def test_who_would_undo_a_change_is_known() -> None:
    cache = ClusterCache()
    owned: dict[str, dict[str, Any]] = {
        "argo": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        "flux": {"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}},
        "helm": {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "operator": {"ownerReferences": [{"kind": "Shop", "name": "s", "controller": True}]},
        "nobody": {},
    }
    for uid, metadata in owned.items():
        cache.deployments.upsert(msgspec.convert({"metadata": {"uid": uid, **metadata}, "spec": {}}, DeploymentShape))
    managers = {uid: d.managed_by for uid in ("argo", "flux", "helm", "operator", "nobody") if (d := cache.deployment(uid))}
    assert managers == {"argo": "Argo CD", "flux": "Flux", "helm": "Helm", "operator": "Shop s", "nobody": ""}


def test_a_revision_remembers_every_digest_that_ran() -> None:
    cache = make()
    found, held = cache.pod("p1"), cache.replica_set("r1")
    assert found is not None and held is not None
    record = record_pod(None, found, held, 10.0)
    assert (record.workload, record.number, record.images) == (WEB, 4, (("web", f"reg/web@{SHA}"),))
    assert record_pod(record, found, held, 20.0) is record
    moved = replace(found, containers=tuple(replace(c, image_id=f"reg/web@{OTHER}") for c in found.containers))
    both = record_pod(record, moved, held, 30.0).images
    assert {image for name, image in both if name == "web"} == {f"reg/web@{SHA}", f"reg/web@{OTHER}"}


def test_an_imported_image_has_no_digest_to_go_back_to() -> None:
    cache = ClusterCache()
    cache.replica_sets.upsert(REPLICA_SET)
    shape = pod()
    assert shape.status.containerStatuses is not None
    shape.status.containerStatuses[0].imageID = SHA
    cache.pods.upsert(shape)
    found, held = cache.pod("p1"), cache.replica_set("r1")
    assert found is not None and held is not None
    assert record_pod(None, found, held, 1.0).images == ()
