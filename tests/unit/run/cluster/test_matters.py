"""What the controller itself holds against nodes and images becomes an incident, told once, and ends when nobody holds it any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from intact.model.finding import Level
from intact.model.incident import Incident, IncidentState, Matter, Workload
from intact.model.policy import Cause
from intact.run.cluster.matters import Matters
from tests.unit.clusters import staged

NODE = Workload(kind="Node", namespace="", name="node2")
IMAGE = Workload(kind="Image", namespace="shop", name="registry.example/web:1", uid="1" * 64)


def matter(key: str, *, subject: Workload = NODE, level: Level = Level.HIGH, cause: Cause = Cause.NODE, text: str = "") -> Matter:
    return Matter(subject=subject, key=key, cause=cause, level=level, text=text or f"lies about {key}", nodes=("node2",))


def is_resolved(incident: Incident) -> bool:
    return incident.state is IncidentState.RESOLVED


def test_a_matter_keeps_its_time_as_long_as_it_says_the_same() -> None:
    matters = Matters()
    assert matters.hold(Cause.NODE, [matter("a")], 1.0) == {NODE}
    assert matters.hold(Cause.NODE, [matter("a")], 2.0) == frozenset()
    assert matters.hold(Cause.NODE, [matter("a"), matter("b")], 3.0) == {NODE}
    assert [(one.key, one.at) for one in matters.of(NODE)] == [("a", 1.0), ("b", 3.0)]
    assert matters.hold(Cause.NODE, [matter("a", text="lies otherwise"), matter("b")], 4.0) == {NODE}
    assert [(one.key, one.at) for one in matters.of(NODE)] == [("a", 4.0), ("b", 3.0)]
    assert matters.hold(Cause.NODE, [], 5.0) == {NODE}
    assert matters.of(NODE) == ()


def test_what_stood_before_a_restart_stands_until_somebody_has_spoken_of_its_cause() -> None:
    matters, last = Matters(), (matter("a"),)
    assert matters.of(NODE, last) == last
    matters.hold(Cause.IMAGE_TRUST, [], 1.0)
    assert matters.of(NODE, last) == last
    matters.hold(Cause.NODE, [], 1.0)
    assert matters.of(NODE, last) == ()


def test_hundreds_of_matters_against_one_node_are_one_incident_and_one_alert(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("key 0", cause=Cause.IMAGE_TRUST)])
        incident = cluster.wait_incident()
        assert (incident.workload, incident.cause, incident.level, incident.nodes) == (NODE, Cause.IMAGE_TRUST, Level.HIGH, ("node2",))
        for count in range(2, 300):
            cluster.flow.hold(Cause.IMAGE_TRUST, [matter(f"key {number}", cause=Cause.IMAGE_TRUST) for number in range(count)])
        incident = cluster.wait_incident(lambda one: one.matter_count == 299)
        assert len(incident.matters) == 20
        assert [(one.kind.value, one.cause, one.summary) for one in cluster.alerts()] == [
            ("IncidentOpened", "ImageTrust", "Node node2: lies about key 0")
        ]
        cluster.flow.hold(Cause.IMAGE_TRUST, [])
        cluster.wait_incident(is_resolved)
        assert [one.kind.value for one in cluster.alerts()] == ["IncidentOpened", "IncidentResolved"]
        (opened,) = cluster.leaves("IncidentOpened")
        assert opened.workload == "Node node2" and opened.body["matters"][0]["text"] == "lies about key 0"  # type: ignore[index]
        assert len(cluster.leaves("IncidentResolved")) == 1
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("key 0", cause=Cause.IMAGE_TRUST)])
        cluster.wait_incident(lambda one: one.state is IncidentState.OPEN)
        assert len(cluster.incidents()) == 2, "it came back: another incident"


def test_a_graver_matter_is_told(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("unsigned", subject=IMAGE, cause=Cause.IMAGE_TRUST)])
        incident = cluster.wait_incident()
        assert (incident.workload, incident.cause) == (IMAGE, Cause.IMAGE_TRUST)
        grave = matter("revoked", subject=IMAGE, cause=Cause.IMAGE_TRUST, level=Level.CRITICAL)
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("unsigned", subject=IMAGE, cause=Cause.IMAGE_TRUST), grave])
        cluster.wait_incident(lambda one: one.level is Level.CRITICAL)
        assert [one.kind.value for one in cluster.alerts()] == ["IncidentOpened", "IncidentRaised"]


def test_a_restart_ends_no_incident_that_nobody_has_spoken_of_since(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("a", cause=Cause.IMAGE_TRUST)])
        cluster.wait_incident()
    with staged(tmp_path, cluster) as again:
        again.flow.hold(Cause.REVISION, [matter("b", subject=IMAGE, cause=Cause.REVISION)])
        again.wait_incident(lambda one: one.workload == IMAGE)
        (incident,) = [one for one in again.incidents() if one.workload == NODE]
        assert incident.state is IncidentState.OPEN and incident.matter_count == 1
        again.flow.hold(Cause.IMAGE_TRUST, [])
        again.wait_incident(is_resolved)


@pytest.mark.parametrize("subject", [NODE, IMAGE])
def test_nothing_is_ever_done_about_a_matter(tmp_path: Path, subject: Workload) -> None:
    with staged(tmp_path) as cluster:
        cluster.flow.hold(Cause.IMAGE_TRUST, [matter("a", subject=subject, level=Level.CRITICAL, cause=Cause.IMAGE_TRUST)])
        incident = cluster.wait_incident()
        assert incident.taken == () and cluster.state.memory.remediations.of(incident.id) == ()
