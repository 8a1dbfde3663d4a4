"""Records as custom resources: bounded, whatever is in them, and saying what was left out."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from intact.adapters.cluster.bodies import MAX_BYTES, ShownBaseline, baseline_body, incident_body, node_body, remediation_body
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.finding import Level
from intact.model.incident import Decision, Incident, IncidentState, Matter, PathSummary, Seen, Workload
from intact.model.layer import Grade
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


def test_an_incident_says_against_which_baseline_and_what_the_controller_holds() -> None:
    seen = [
        Seen(
            finding_id=str(n), path=b"/x", change="Added", level=Level.HIGH, pod_uid="u", pod="p", node="n", revision="", at=1.0,
            actual="-", grade=grade, image_key=f"sha256:{n}", baseline_root=f"sha256:r{n}",
        )
        for n, grade in enumerate([Grade.VERIFIED, Grade.NODE_REPORTED, Grade.SIGNED] * 4)
    ]  # fmt: skip
    node = Workload(kind="Node", namespace="", name="n2")
    held = tuple(Matter(subject=node, key="k" * 500, cause=Cause.NODE, level=Level.HIGH, text="t" * 4000, nodes=("n2",)) for _ in range(20))
    body = incident_body(
        replace(incident(3), seen=tuple(seen), matters=held, matter_count=300), [path(1, b"x" * 400)] * 20, "intact-system"
    )
    assert size(body) <= MAX_BYTES and body["metadata"]["namespace"] == "intact-system"
    status = body["status"]
    assert status["grade"] == "NodeReported" and len(status["baselines"]) == 5
    assert status["baselines"][0] == {"key": "sha256:1", "root": "sha256:r1", "grade": "NodeReported"}
    assert (status["matterCount"], len(status["matters"])) == (300, 10)


def test_a_baseline_with_hundreds_of_names_fits_and_counts_what_it_leaves_out() -> None:
    aliases = tuple(f"{'x' * 600}{n}" for n in range(300))
    workloads = tuple(f"Deployment shop/{n}" for n in range(300))
    shown = ShownBaseline(key=Digest.of(b"k"), root=Digest.of(b"r"), grade="Verified", aliases=aliases, workloads=workloads)
    body = baseline_body(shown)
    status = body["status"]
    assert size(body) <= MAX_BYTES and body["metadata"]["name"] == str(Digest.of(b"k")).replace(":", "-")
    assert len(status["aliases"]) + status["omittedAliases"] == 300 and len(status["workloads"]) + status["omittedWorkloads"] == 300
    assert "root" not in baseline_body(ShownBaseline(key=Digest.of(b"k")))["status"]


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


@pytest.mark.parametrize(("told", "shown"), [(None, None), (0, 0), (5, 5), (-1, 0), (1 << 200, (1 << 63) - 1)])
def test_no_figure_of_a_node_makes_its_object_one_that_the_api_server_refuses(told: int | None, shown: int | None) -> None:
    container = Container(id="1", name="c", image="", image_key=None, node="n")
    covered = Coverage(
        container=container,
        verdict="Intact",
        baseline_root=None,
        grade="",
        verified_at=1.0,
        layers_verified_at=0.0,
        layers_unverified_bytes=told,
    )
    (one,) = node_body(NodeStatus(node="n", heard_at=1.0, tier="A", coverage=(covered,)))["status"]["containers"]
    assert one.get("layersUnverifiedBytes") == shown and "layersVerifiedAt" not in one


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
