"""A container that can be looked at no more is an alert; one whose pod Kubernetes takes away, with what it did last, is on record only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intact.model.alert import AlertKind
from intact.model.finding import State, Verdict
from intact.model.observation import Scope, Unobserved
from intact.model.seam import Report
from tests.unit.clusters import Staged, staged
from tests.unit.run.cluster.shop import Shop


def lose_sight(cluster: Staged, *, is_ending: bool) -> list[AlertKind]:
    """A container was seen intact, and its node says that it was gone before the next look. What people are told."""
    shop = Shop(cluster)
    web = shop.start("web-1", "n1")
    shop.find(web)
    assert web.pod is not None
    cluster.world.pods[web.pod.uid] = replace(cluster.world.pods[web.pod.uid], is_ending=is_ending)
    now = cluster.clock.now + 1
    gone = (Unobserved(path=b"/", reason="it was gone before it could be looked at"),)
    verdict = Verdict(
        container=web, state=State.UNOBSERVED, scope=Scope.DRIFT, findings=(), baseline_root=None, grade=None, at=now, unobserved=gone
    )
    cluster.flow.receive("n1", Report(id="gone", node="n1", at=now, verdicts=(verdict,)))
    assert [leaf.body["state"] for leaf in cluster.leaves("Verdict")][-1] == "Unobserved"
    return [alert.kind for alert in cluster.alerts()]


def test_a_container_that_cannot_be_looked_at_any_more_is_an_alert(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        assert lose_sight(cluster, is_ending=False) == [AlertKind.BLIND]


def test_one_whose_pod_kubernetes_takes_away_is_recorded_and_alarms_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        assert lose_sight(cluster, is_ending=True) == []
