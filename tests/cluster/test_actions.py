"""Acting on a real cluster, with the rights of the chart: evictions that respect budgets, rollbacks that pin what really ran."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.act.perform import EVICTION_DEADLINE_S, Later, perform
from intact.act.ports import Blocked, Changed, Gone, Reference
from intact.act.verify import verify
from intact.adapters.cluster.actuator import KubernetesActuator
from intact.adapters.cluster.api import Api
from intact.adapters.cluster.cache import ClusterCache, facts_of
from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.cluster.follow import Follower
from intact.adapters.cluster.revisions import record_pod
from intact.model.container import Container
from intact.model.finding import State, Verdict
from intact.model.incident import Decision, Outcome, Phase, PodFacts, Workload
from intact.model.observation import Scope
from intact.model.policy import ActionKind
from intact.model.revision import RevisionRecord
from lab.cluster import Cluster
from tests.cluster.kubernetes import (
    Images,
    apply,
    as_controller,
    deployment,
    eventually,
    fresh_namespace,
    install_chart,
    push_images,
    roll_out,
)


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Api:
    install_chart(cluster)
    return as_controller(cluster)


@pytest.fixture(scope="module")
def cache(api: Api) -> Iterator[ClusterCache]:
    cache = ClusterCache()
    with Follower(api, cache, DeclaredObjects(), DeclaredObjects()) as follower:
        follower.wait_synced(15)
        yield cache


@pytest.fixture(scope="module")
def images(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return push_images(cluster, Path(tmp_path_factory.mktemp("images")))


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with fresh_namespace(cluster) as name:
        yield name


def workload(cluster: Cluster, namespace: str, name: str = "web") -> Workload:
    found = json.loads(cluster.kubectl("get", "deployment", name, "-n", namespace, "-o", "json"))
    return Workload(kind="Deployment", namespace=namespace, name=name, uid=found["metadata"]["uid"])


def decide(action: ActionKind, of: Workload, *, pod: PodFacts | None = None, target: str = "", at: float | None = None) -> Decision:
    return Decision(
        name=f"{of.name}-{action.name.lower()}",
        incident_id="i",
        action=action,
        workload=of,
        pod=pod,
        reason="test",
        policy="p",
        at=time.time() if at is None else at,
        target=target,
    )


def remember(cache: ClusterCache, of: Workload) -> RevisionRecord:
    """What the controller knows of the revision whose pods run now."""
    pods = eventually(lambda: [p for p in cache.pods_of(of) if p.ready and all(c.image_id for c in p.containers)])
    assert pods[0].owner is not None
    held = cache.replica_set(pods[0].owner.uid)
    assert held is not None
    return record_pod(None, pods[0], held, time.time())


def test_an_evicted_pod_is_replaced_and_the_proof_waits_for_the_new_one(
    cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str
) -> None:
    roll_out(cluster, deployment("web", namespace, images.tags[0]))
    web = workload(cluster, namespace)
    pods = eventually(lambda: cache.pods_of(web) if len(cache.pods_of(web)) == 2 else None)
    old = facts_of(pods[0])
    assert old.workload == web
    began = time.time()
    outcome = perform(decide(ActionKind.RESTART_POD, web, pod=old), KubernetesActuator(api, cache), record=None, now=began, wait=time.sleep)
    assert isinstance(outcome, Outcome) and outcome.phase is Phase.RUNNING, outcome

    def look(verdicts: dict[str, tuple[Verdict, ...]]) -> Outcome:
        return verify(outcome, cache.pods_of(web), verdicts, wanted=cache.wanted(web), acted_at=began, now=time.time())

    eventually(lambda: look({}).phase is Phase.SUCCEEDED)
    assert old.uid not in {p.uid for p in cache.pods_of(web)}
    clean = {
        p.uid: tuple(
            Verdict(
                container=Container(id=c.name, name=c.name, image="", image_key=None, node=p.node),
                state=State.INTACT,
                scope=Scope.DRIFT,
                at=time.time() + 2,
            )
            for c in p.containers
        )
        for p in cache.pods_of(web)
    }
    assert look(clean).phase is Phase.VERIFIED


def test_a_disruption_budget_blocks_is_named_and_in_the_end_fails_the_action(
    cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str
) -> None:
    roll_out(cluster, deployment("web", namespace, images.tags[0]))
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web-budget", "namespace": namespace},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    }
    apply(cluster, budget)
    read = ("get", "pdb", "web-budget", "-n", namespace, "-o", "jsonpath={.status.currentHealthy}")
    eventually(lambda: cluster.kubectl(*read) == "2")
    web = workload(cluster, namespace)
    pod = facts_of(eventually(lambda: cache.pods_of(web))[0])
    actuator = KubernetesActuator(api, cache)
    answer = actuator.evict_pod(namespace, pod.name, pod.uid)
    assert isinstance(answer, Blocked)
    assert answer.budget == "web-budget"
    later = perform(decide(ActionKind.RESTART_POD, web, pod=pod), actuator, record=None, now=time.time(), wait=time.sleep)
    assert isinstance(later, Later)
    old = decide(ActionKind.RESTART_POD, web, pod=pod, at=time.time() - EVICTION_DEADLINE_S)
    failed = perform(old, actuator, record=None, now=time.time(), wait=time.sleep)
    assert isinstance(failed, Outcome) and failed.phase is Phase.FAILED
    assert "web-budget" in failed.message


def test_a_pod_of_the_same_name_with_another_uid_is_not_evicted(
    cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str
) -> None:
    roll_out(cluster, deployment("web", namespace, images.tags[0], replicas=1))
    pod = eventually(lambda: cache.pods_of(workload(cluster, namespace)))[0]
    assert KubernetesActuator(api, cache).evict_pod(namespace, pod.name, "another") == Gone()
    assert KubernetesActuator(api, cache).evict_pod(namespace, "no-such-pod", "another") == Gone()


def test_a_rollback_runs_the_recorded_digest_although_the_tag_moved(
    cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str, tmp_path: Path
) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site", "namespace": namespace}, "data": {"a": "b"}}
    apply(cluster, config)
    needs_site: dict[str, Any] = {"volumes": [{"name": "site", "configMap": {"name": "site"}}]}
    roll_out(cluster, deployment("web", namespace, images.tags[0], **needs_site))
    web = workload(cluster, namespace)
    good = remember(cache, web)
    assert dict(good.images)["web"].endswith(images.digests[0].rpartition("@")[2])
    roll_out(cluster, deployment("web", namespace, images.tags[1], volumes=None))
    before = json.loads(cluster.kubectl("get", "deployment", "web", "-n", namespace, "-o", "json"))
    actuator = KubernetesActuator(api, cache)
    wanted = decide(ActionKind.ROLL_BACK, web, target=good.name)

    cluster.kubectl("delete", "configmap", "site", "-n", namespace)
    refused = perform(wanted, actuator, record=good, now=time.time(), wait=time.sleep)
    assert isinstance(refused, Outcome) and refused.phase is Phase.REFUSED
    assert "ConfigMap site" in refused.message
    apply(cluster, config)

    outcome = perform(wanted, actuator, record=good, now=time.time(), wait=time.sleep)
    assert isinstance(outcome, Outcome) and outcome.phase is Phase.RUNNING, outcome
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    after = json.loads(cluster.kubectl("get", "deployment", "web", "-n", namespace, "-o", "json"))
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == images.digests[0]
    assert after["spec"]["replicas"] == before["spec"]["replicas"]
    assert after["spec"]["template"]["metadata"] == before["spec"]["template"]["metadata"]
    ours = {k: v for k, v in after["metadata"]["annotations"].items() if "intact" in k}
    assert ours == {} and after["metadata"].get("finalizers") is None

    eventually(lambda: {p.revision for p in cache.pods_of(web)} == {outcome.revision})
    again = perform(wanted, actuator, record=good, now=time.time(), wait=time.sleep)
    assert isinstance(again, Outcome) and again.revision == outcome.revision
    assert eventually(lambda: cache.deployment(web.uid)) is not None
    version = json.loads(cluster.kubectl("get", "deployment", "web", "-n", namespace, "-o", "json"))["metadata"]["generation"]
    assert version == after["metadata"]["generation"]


def test_a_paused_deployment_is_left_alone(cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str) -> None:
    roll_out(cluster, deployment("web", namespace, images.tags[0]))
    web = workload(cluster, namespace)
    good = remember(cache, web)
    roll_out(cluster, deployment("web", namespace, images.tags[1]))
    cluster.kubectl("rollout", "pause", "deployment/web", "-n", namespace)
    outcome = perform(
        decide(ActionKind.ROLL_BACK, web, target=good.name),
        KubernetesActuator(api, cache),
        record=good,
        now=time.time(),
        wait=time.sleep,
    )
    assert isinstance(outcome, Outcome) and outcome.phase is Phase.REFUSED
    assert "paused" in outcome.message


def test_a_deployment_that_changed_since_it_was_read_is_not_patched(
    cluster: Cluster, api: Api, cache: ClusterCache, images: Images, namespace: str
) -> None:
    roll_out(cluster, deployment("web", namespace, images.tags[0]))
    actuator = KubernetesActuator(api, cache)
    state = actuator.read_deployment(namespace, "web")
    assert state is not None and state.current is not None
    cluster.kubectl("annotate", "deployment", "web", "-n", namespace, "somebody=else")
    changed = actuator.patch_deployment_template(
        namespace, "web", uid=state.uid, resource_version=state.resource_version, template=state.template
    )
    assert changed == Changed()
    other = actuator.patch_deployment_template(
        namespace, "web", uid="another", resource_version=state.resource_version, template=state.template
    )
    assert other == Changed()


def test_whether_a_secret_exists_is_answered_without_its_content(cluster: Cluster, api: Api, cache: ClusterCache, namespace: str) -> None:
    cluster.kubectl("create", "secret", "generic", "key", "--from-literal=a=very-secret", "-n", namespace)
    actuator = KubernetesActuator(api, cache)
    assert actuator.exists(namespace, Reference("Secret", "key")) is True
    assert actuator.exists(namespace, Reference("Secret", "other")) is False
