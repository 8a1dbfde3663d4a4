"""What nodes that lie about the baselines of images can do to others, and what they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.encoding import VERSION
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.incident import Incident, IncidentState
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause, Condition, Corroboration, Guard, Mode, Policy, Response
from intact.model.seam import Coverage, Report
from intact.run.cluster.truth import MAX_KEYS_PER_NODE, UNDECLARED_PER_POD
from tests.unit.clusters import Staged, staged

KEY, OTHER = Digest.of(b"image"), Digest.of(b"another image")
TRUE, LIE = Digest.of(b"the image's root"), Digest.of(b"a made-up root")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Staged]:
    with staged(tmp_path) as cluster:
        yield cluster


def covered(pod: Pod, node: str, root: Digest, *, key: Digest = KEY, name: str = "web", grade: Grade = Grade.VERIFIED) -> Coverage:
    container = Container(id=f"{pod.uid}-{name}", name=name, image="the node's word", image_key=key, node=node, pod=pod)
    return Coverage(
        container=container, verdict="Intact", baseline_root=root, grade=grade.title, verified_at=1.0, layers_verified_at=1.0
    )  # fmt: skip


def drifted(pod: Pod, node: str, at: float, *, root: Digest = TRUE) -> Verdict:
    container = covered(pod, node, root).container
    entry = Entry(path=b"/shell.php", kind=Kind.FILE, mode=0o644, uid=0, gid=0, size_bytes=1, digest=Digest.of(b"x"))
    finding = Finding(
        container=container,
        difference=Difference(path=entry.path, change=Change.ADDED, expected=None, actual=entry),
        level=Level.HIGH,
        rule="code-added",
        scope=Scope.DRIFT,
        baseline_root=root,
        grade=Grade.VERIFIED,
        observed_at=at,
    )
    return Verdict(
        container=container, state=State.DRIFTED, scope=Scope.DRIFT, findings=(finding,), baseline_root=root, grade=Grade.VERIFIED, at=at
    )  # fmt: skip


def against(kind: str) -> object:
    return lambda one: one.workload.kind == kind


def accused(cluster: Staged) -> set[str]:
    return {one.workload.name for one in cluster.incidents() if one.workload.kind == "Node"}


def grades(cluster: Staged, node: str) -> list[str]:
    return [one.grade for status in cluster.flow.status() if status.node == node for one in status.coverage]


def test_one_stolen_node_that_lies_about_a_root_is_named_where_the_cluster_computed_the_image_itself(cluster: Staged) -> None:
    cluster.library.roots[KEY] = TRUE
    for node in ("n1", "n2"):
        cluster.report(node, covered(cluster.world.add(f"web-{node}", node), node, TRUE))
    stolen = cluster.world.add("web-n3", "n3")
    cluster.report("n3", covered(stolen, "n3", LIE))
    incident = cluster.wait_incident(lambda one: one.workload.kind == "Node")
    assert (incident.workload.name, incident.cause, incident.level) == ("n3", Cause.NODE, Level.CRITICAL)
    assert str(TRUE) in incident.explanation and str(LIE) in incident.explanation and "registry.example/web:1" in incident.explanation
    assert accused(cluster) == {"n3"}
    (said,) = [one for status in cluster.flow.status() if status.node == "n3" for one in status.coverage]
    assert (said.verdict, said.grade) == ("Unobserved", "NodeReported"), "intact against another image's files is not intact"
    assert grades(cluster, "n1") == ["Verified"]
    (alert,) = [one for one in cluster.alerts() if one.kind.value == "IncidentOpened"]
    assert (alert.cause, alert.nodes, alert.level) == ("Node", ("n3",), Level.CRITICAL)
    cluster.report("n3", covered(stolen, "n3", TRUE))
    cluster.wait_incident(lambda one: one.state is IncidentState.RESOLVED)


def test_one_stolen_node_cannot_make_an_honest_one_the_odd_one(cluster: Staged) -> None:
    pods = {node: cluster.world.add(f"web-{node}", node) for node in ("n1", "n2")}
    cluster.report("n1", covered(pods["n1"], "n1", TRUE))
    cluster.report("n2", covered(pods["n2"], "n2", LIE))
    incident = cluster.wait_incident()
    assert (incident.workload.kind, incident.nodes, incident.cause, incident.level) == ("Cluster", ("n1", "n2"), Cause.NODE, Level.HIGH)
    assert "cannot be told" in incident.explanation
    assert accused(cluster) == set()
    assert grades(cluster, "n1") == ["NodeReported"]
    cluster.library.roots[KEY] = TRUE  # the controller has read the image
    cluster.flow.learn(KEY)
    cluster.wait_incident(lambda one: one.workload.kind == "Node" and one.workload.name == "n2")
    cluster.wait_incident(lambda one: one.workload.kind == "Cluster" and one.state is IncidentState.RESOLVED)
    assert accused(cluster) == {"n2"}


def test_two_stolen_nodes_that_collude_cannot_make_the_honest_one_the_odd_one(cluster: Staged) -> None:
    for node, root in (("n1", TRUE), ("n2", LIE), ("n3", LIE)):
        cluster.report(node, covered(cluster.world.add(f"web-{node}", node), node, root))
    incident = cluster.wait_incident(lambda one: len(one.nodes) == 3)
    assert incident.workload.kind == "Cluster" and accused(cluster) == set()
    cluster.report("n2", covered(cluster.world.add("web-n2", "n2"), "n2", LIE))
    assert grades(cluster, "n2") == ["NodeReported"], "what is disputed is corroborated by nobody"
    cluster.library.roots[KEY] = TRUE
    cluster.flow.learn(KEY)
    for node in ("n2", "n3"):
        cluster.wait_incident(lambda one, node=node: one.workload.name == node)  # type: ignore[misc]
    assert accused(cluster) == {"n2", "n3"}


def test_a_node_cannot_dispute_an_image_that_it_does_not_run(cluster: Staged) -> None:
    honest = cluster.world.add("shop-1", "n1")
    cluster.world.images[honest.uid] = "registry.example/shop:1"
    cluster.report("n1", covered(honest, "n1", TRUE))
    own = cluster.world.add("web-1", "n2")
    cluster.report("n2", covered(own, "n2", LIE), covered(own, "n2", LIE, name="POD"), covered(honest, "n2", LIE))
    unknown = Pod(namespace="shop", name="nobody", uid="nobody")
    cluster.report("n2", covered(unknown, "n2", LIE))
    cluster.flow.hold(Cause.IMAGE_TRUST, [])
    assert not cluster.flow._truth.matters(0.0) and cluster.incidents() == ()
    assert cluster.flow._truth.doubted_pods() == frozenset()


def test_a_flood_of_made_up_images_is_bounded_by_what_the_cluster_put_on_the_node(cluster: Staged) -> None:
    pod = cluster.world.add("web-1", "n1")
    flood = [covered(pod, "n1", LIE, key=Digest.of(b"%d" % n), name=f"c{n}") for n in range(5000)]
    cluster.report("n1", *flood, covered(pod, "n1", TRUE))
    images = cluster.flow._truth.images()
    assert len(images) == UNDECLARED_PER_POD + 1 and KEY in images
    pods = [cluster.world.add(f"p{n}", "n2") for n in range(MAX_KEYS_PER_NODE + 50)]
    cluster.report("n2", *(covered(one, "n2", LIE, key=Digest.of(b"k%d" % n)) for n, one in enumerate(pods)))
    images = cluster.flow._truth.images()
    assert sum("n2" in holders for holders in images.values()) == MAX_KEYS_PER_NODE
    cluster.report("n2")
    assert len(cluster.flow._truth.images()) == UNDECLARED_PER_POD + 1, "what a node runs no more is forgotten"


def test_lies_about_hundreds_of_images_are_one_incident_and_one_alert(cluster: Staged) -> None:
    keys = [Digest.of(b"image %d" % n) for n in range(300)]
    pods = [cluster.world.add(f"p{n}", "n3") for n in range(300)]
    cluster.library.roots.update(dict.fromkeys(keys, TRUE))
    for count in (1, 100, 300):
        cluster.report("n3", *(covered(pod, "n3", LIE, key=key) for pod, key in list(zip(pods, keys, strict=True))[:count]))
    cluster.wait_incident(lambda one: one.matter_count == 300)
    assert [one.kind.value for one in cluster.alerts()] == ["IncidentOpened"]
    assert len(cluster.incidents()) == 1


def test_one_node_s_two_pods_corroborate_nothing(cluster: Staged) -> None:
    pods = [cluster.world.add(f"web-{n}", "n1") for n in range(2)]
    cluster.report("n1", *(covered(pod, "n1", TRUE) for pod in pods))
    assert grades(cluster, "n1") == ["NodeReported", "NodeReported"]
    cluster.report("n2", covered(cluster.world.add("web-9", "n2"), "n2", TRUE))
    assert grades(cluster, "n2") == ["Corroborated"]
    cluster.report("n1", *(covered(pod, "n1", TRUE) for pod in pods))
    assert grades(cluster, "n1") == ["Corroborated", "Corroborated"]


def test_a_node_that_still_has_a_supplied_baseline_is_accused_of_nothing(cluster: Staged) -> None:
    cluster.library.roots[KEY] = TRUE
    cluster.library.taken_back.append(LIE)
    pod = cluster.world.add("web-n3", "n3")
    cluster.report("n3", covered(pod, "n3", LIE, grade=Grade.SIGNED))
    (said,) = [one for status in cluster.flow.status() for one in status.coverage]
    assert (said.verdict, said.reason) == ("Unobserved", "its baseline was withdrawn")
    assert cluster.flow.plan_for("n3").withdrawn == (LIE,)
    cluster.report("n3", covered(pod, "n3", LIE))  # that it computed this itself is its own word
    cluster.wait_incident(lambda one: one.workload.name == "n3")


def test_what_a_node_computed_itself_is_not_taken_back_by_who_declared_the_same(cluster: Staged) -> None:
    cluster.library.taken_back.append(TRUE)
    pod = cluster.world.add("web-n1", "n1")
    cluster.report("n1", covered(pod, "n1", TRUE))
    (said,) = [one for status in cluster.flow.status() for one in status.coverage]
    assert (said.verdict, said.reason) == ("Intact", "")


def test_a_node_of_another_release_is_accused_of_nothing_and_believed_no_more_than_a_single_node(cluster: Staged) -> None:
    cluster.library.roots[KEY] = TRUE
    for node in ("n1", "n2"):
        of_old = replace(covered(cluster.world.add(f"web-{node}", node), node, LIE), table_version=VERSION + 1)
        cluster.report(node, of_old)
        assert grades(cluster, node) == ["NodeReported"]
    assert accused(cluster) == set()


def test_a_node_that_is_not_believed_about_an_image_rolls_no_workload_back(cluster: Staged) -> None:
    rule = Response(when=Condition(level=Level.MEDIUM), do=(ActionKind.ROLL_BACK,))
    plain_wish = Policy(name="p", mode=Mode.ENFORCE, respond=(rule,), guard=Guard(corroboration=Corroboration.REPORTER, cooldown_s=0.0))
    cluster.world.declared = (plain_wish,)
    cluster.library.roots[KEY] = TRUE
    pod = cluster.world.add("web-n3", "n3")
    cluster.report("n3", covered(pod, "n3", LIE))
    cluster.wait_incident(lambda one: one.workload.kind == "Node")
    verdict = drifted(pod, "n3", cluster.clock.now, root=LIE)
    cluster.flow.receive("n3", Report(id="lie", node="n3", at=cluster.clock.now, verdicts=(verdict,)))

    def refused(one: Incident) -> bool:
        return any("what others do not" in taken.refused for taken in one.taken)

    incident = cluster.wait_incident(lambda one: one.workload.kind == "Deployment" and refused(one))
    assert all(taken.refused for taken in incident.taken)
    cluster.report("n3", covered(pod, "n3", TRUE))
    verdict = drifted(pod, "n3", cluster.clock.now + 1)
    cluster.flow.receive("n3", Report(id="true", node="n3", at=cluster.clock.now + 1, verdicts=(replace(verdict, at=cluster.clock.now),)))
    cluster.wait_incident(lambda one: any("no revision to go back to" in taken.refused for taken in one.taken))


def test_a_lie_and_a_finding_of_an_honest_node_are_no_revision(cluster: Staged) -> None:
    cluster.library.roots[KEY] = TRUE
    for node, root in (("n1", TRUE), ("n3", LIE)):
        pod = cluster.world.add(f"web-{node}", node)
        cluster.report(node, covered(pod, node, root))
        verdict = drifted(pod, node, cluster.clock.now, root=root)
        cluster.flow.receive(node, Report(id=f"v-{node}", node=node, at=cluster.clock.now, verdicts=(verdict,)))
    incident = cluster.wait_incident(lambda one: one.workload.kind == "Deployment" and len(one.nodes) == 2)
    assert incident.cause is Cause.CONTAINER


def test_after_a_restart_nobody_is_accused_on_half_the_evidence(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        pods = {node: cluster.world.add(f"web-{node}", node) for node in ("n1", "n2", "n3", "n4")}
        cluster.world.nodes = 4
        for node, pod in pods.items():
            cluster.report(node, covered(pod, node, LIE if node == "n4" else TRUE))
        cluster.wait_incident(lambda one: one.workload.name == "n4")
    with staged(tmp_path, cluster) as again:
        for node in ("n1", "n4"):
            again.report(node, covered(pods[node], node, LIE if node == "n4" else TRUE))
        assert {one.workload.kind for one in again.incidents()} <= {"Node", "Cluster"}
        (still,) = [one for one in again.incidents() if one.workload.name == "n4"]
        assert still.state is not IncidentState.RESOLVED
        assert not [one for one in again.incidents() if one.workload.kind == "Cluster" and "n1" in one.nodes and len(one.nodes) == 2]
        for node in ("n2", "n3"):
            again.report(node, covered(pods[node], node, TRUE))
        again.report("n4", covered(pods["n4"], "n4", TRUE))
        again.wait_incident(lambda one: one.workload.name == "n4" and one.state is IncidentState.RESOLVED)
