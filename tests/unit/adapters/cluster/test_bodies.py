"""Records as custom resources: bounded, whatever is in them, and saying what was left out."""

from __future__ import annotations

import msgspec

from intact.adapters.cluster.bodies import MAX_BYTES, incident_body, node_body, remediation_body
from intact.model.container import Container, Pod
from intact.model.finding import Level
from intact.model.incident import Decision, Incident, IncidentState, PathSummary, Workload
from intact.model.policy import ActionKind, Cause
from intact.model.seam import Coverage, NodeStatus

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="d1")


def size(body: object) -> int:
    return len(msgspec.json.encode(body))


def incident(count: int) -> Incident:
    return Incident(
        id="web-1",
        workload=WEB,
        state=IncidentState.OPEN,
        cause=Cause.CONTAINER,
        level=Level.HIGH,
        first_seen=0.0,
        last_seen=9.0,
        count=count,
        explanation="x" * 9000,
    )


def path(number: int, name: bytes) -> PathSummary:
    return PathSummary(
        path=b"/%d/" % number + name, change="Added", level=Level.HIGH, expected="e" * 900, actual="a" * 900, first_seen=0.0, pods=("p",)
    )


def test_an_incident_with_hostile_names_fits_and_counts_what_it_leaves_out() -> None:
    body = incident_body(incident(5000), [path(n, b"\xff\n\x1b" * 400) for n in range(100)])
    assert size(body) <= MAX_BYTES
    listed = len(body["status"]["paths"])
    assert 0 < listed <= 20
    assert body["status"]["omittedPaths"] == 5000 - listed
    assert all(p["path"].isprintable() for p in body["status"]["paths"])
    assert body["status"]["paths"][0]["path"].startswith("/0/")


def test_a_crowded_node_fits_and_names_first_what_is_not_intact() -> None:
    def coverage(number: int, verdict: str) -> Coverage:
        container = Container(
            id=str(number), name="c" * 60, image="", image_key=None, node="n", pod=Pod(namespace="ns", name=f"p{number}", uid="u" * 36)
        )
        return Coverage(
            container=container,
            verdict=verdict,
            baseline_root=None,
            grade="Verified",
            verified_at=1.0,
            layers_verified_at=1.0,
            reason="r" * 300,
        )

    status = NodeStatus(node="n", heard_at=1.0, tier="A", coverage=(*(coverage(n, "Intact") for n in range(500)), coverage(999, "Drifted")))
    body = node_body(status)
    assert size(body) <= MAX_BYTES
    shown = body["status"]
    assert (shown["intact"], shown["drifted"]) == (500, 1)
    assert shown["containers"][0]["verdict"] == "Drifted"
    assert len(shown["containers"]) + shown["omittedContainers"] == 501


def test_a_remediation_says_in_words_why_it_was_done() -> None:
    decision = Decision(
        name="web-rollback-1",
        incident_id="web-1",
        action=ActionKind.ROLL_BACK,
        workload=WEB,
        pod=None,
        reason="High, cause Revision",
        policy="shop/web",
        at=0.0,
        to="LastKnownGood",
        target="web-5d",
    )
    body = remediation_body(decision)
    assert body["metadata"]["annotations"]["kubernetes.io/change-cause"] == "Intact: rolled back to web-5d: High, cause Revision"
    assert "status" not in body
