"""A host without Kubernetes, as the cluster flow sees it."""

from __future__ import annotations

from dataclasses import replace

from intact.decide.govern import compile_plan
from intact.model.container import Container
from intact.model.incident import Workload
from intact.model.policy import Policy, Watch
from intact.model.seam import Coverage, NodeStatus
from intact.run.cluster.standalone import Host
from tests.unit.trees import CONTAINER

GONE = Workload(kind="Container", namespace="", name="gone", uid="gone")


def status(container: Container) -> NodeStatus:
    covered = Coverage(container=container, verdict="Pending", baseline_root=None, grade="", verified_at=0.0, layers_verified_at=0.0)
    return NodeStatus(node="n1", heard_at=1.0, tier="A", coverage=(covered,))


def test_a_container_of_an_earlier_life_is_gone_only_when_the_node_has_listed_its_containers() -> None:
    host = Host("n1")
    (pod,) = host.facts(GONE, 1.0).pods
    assert (pod.uid, pod.node, pod.intact_at) == ("gone", "n1", None)
    other = host.locate(CONTAINER, 1.0)
    host.publish_status(status(CONTAINER), 1.0)
    assert host.facts(GONE, 2.0).pods == ()
    assert [one.uid for one in host.facts(other.workload, 2.0).pods] == [CONTAINER.id]


def test_a_container_that_the_node_lists_no_more_is_gone() -> None:
    host = Host("n1")
    other = host.locate(CONTAINER, 1.0)
    host.publish_status(status(CONTAINER), 1.0)
    host.publish_status(status(replace(CONTAINER, id="another")), 2.0)
    assert host.facts(other.workload, 2.0).pods == ()


def test_a_policy_of_the_host_says_how_each_container_is_watched() -> None:
    often = Policy(name="host", namespace="", watch=Watch(interval_s=5.0))
    host = Host("n1", (often,))
    host.locate(CONTAINER, 1.0)
    assert [(one.pod_uid, one.interval_s) for one in compile_plan(host.pods_on("n1"), host.policies()).pods] == [(CONTAINER.id, 5.0)]
