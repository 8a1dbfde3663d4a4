"""What somebody with one agent's token may not do to others."""

from __future__ import annotations

import pytest

from intact.act.ports import ContainerState
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.seam import Coverage, NodeStatus, Report
from intact.run.cluster.flow import bound_times
from intact.run.cluster.images import image_to_read
from intact.run.cluster.reconcile import silence

NOW = 1000.0
CONTAINER = Container(id="c1", name="web", image="i", image_key=None, node="n1", pod=Pod(namespace="shop", name="web-1", uid="p1"))
COVERED = Coverage(container=CONTAINER, verdict="Intact", baseline_root=None, grade="", verified_at=1e300, layers_verified_at=1e300)
SHA = "sha256:" + "0" * 64


def finding(at: float) -> Finding:
    actual = Entry(path=b"/x", kind=Kind.FILE, mode=0o644)
    return Finding(
        container=CONTAINER,
        difference=Difference(path=b"/x", change=Change.ADDED, expected=None, actual=actual),
        level=Level.HIGH,
        rule="code-added",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=at,
    )


def test_a_look_dated_in_the_future_is_a_look_of_now() -> None:
    verdict = Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(finding(1e300), finding(5.0)), at=NOW + 601)
    bound = bound_times(Report(id="r", node="n1", at=1e300, verdicts=(verdict,), coverage=(COVERED,)), NOW)
    assert bound.verdicts[0].at == NOW
    assert [f.observed_at for f in bound.verdicts[0].findings] == [NOW, 5.0]
    assert bound.coverage is not None
    assert (bound.coverage[0].verified_at, bound.coverage[0].layers_verified_at) == (NOW, NOW)


def test_a_report_that_says_nothing_of_coverage_still_says_nothing_of_it() -> None:
    assert bound_times(Report(id="r", node="n1", at=1.0), NOW).coverage is None
    assert bound_times(Report(id="r", node="n1", at=1.0, coverage=()), NOW).coverage == ()


@pytest.mark.parametrize(
    ("image", "image_id", "read"),
    [
        ("registry.example:5000/shop/web:1", f"evil.example/x@{SHA}", f"registry.example:5000/shop/web@{SHA}"),
        (f"registry.example/shop/web@{SHA}", f"registry.example/shop/web@{SHA}", f"registry.example/shop/web@{SHA}"),
        ("web", f"evil.example/library/web@{SHA}", f"docker.io/library/web@{SHA}"),
        ("shop/web:1", f"evil.example/shop/web@{SHA}", f"docker.io/shop/web@{SHA}"),
        ("http://evil.example/web", f"registry.example/web@{SHA}", ""),
        ("registry.example/web:1", SHA, ""),
    ],
)
def test_a_node_does_not_choose_where_the_controller_reads_an_image(image: str, image_id: str, read: str) -> None:
    assert image_to_read(ContainerState(name="web", image=image, image_id=image_id)) == read


def test_a_node_that_says_nothing_observes_nothing_whatever_it_said_before() -> None:
    silent = silence(NodeStatus(node="n1", heard_at=1.0, tier="A", coverage=(COVERED,)))
    assert silent.coverage[0].verdict == "Unobserved" and silent.coverage[0].reason
