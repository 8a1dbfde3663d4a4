"""What the last looks at a pod prove, and what they do not."""

from __future__ import annotations

from dataclasses import replace

from intact.model.container import Container, Pod
from intact.model.finding import State, Verdict
from intact.model.observation import Scope
from intact.model.seam import Coverage
from intact.run.cluster.looks import Looks

POD = Pod(namespace="shop", name="web-1", uid="p1")
WEB = Container(id="c1", name="web", image="i", image_key=None, node="n", pod=POD)
SIDECAR = replace(WEB, id="c2", name="sidecar")


def verdict(container: Container, at: float, state: State = State.INTACT, scope: Scope = Scope.DRIFT) -> Verdict:
    return Verdict(container=container, state=state, scope=scope, at=at)


def test_a_pod_is_intact_since_the_earlier_of_its_containers_last_looks() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10), clean=True)
    looks.note(verdict(SIDECAR, 20), clean=True)
    assert looks.intact_at("p1") == 10
    looks.note(verdict(WEB, 30), clean=True)
    assert looks.intact_at("p1") == 20


def test_one_container_that_differs_or_was_not_seen_keeps_the_pod_from_counting_as_intact() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10), clean=True)
    looks.note(verdict(SIDECAR, 20, State.UNOBSERVED), clean=False)
    assert looks.intact_at("p1") is None


def test_read_only_layers_alone_prove_nothing_and_can_disprove() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10, scope=Scope.LAYERS), clean=True)
    assert looks.intact_at("p1") is None
    looks.note(verdict(WEB, 11), clean=True)
    assert looks.intact_at("p1") == 11
    looks.note(verdict(WEB, 12, State.DRIFTED, Scope.LAYERS), clean=False)
    assert looks.intact_at("p1") is None


def test_a_node_can_confirm_a_clean_look_and_nothing_else() -> None:
    looks = Looks()
    assert looks.confirm(WEB, 5) is None, "nothing was told before"
    looks.note(verdict(WEB, 10), clean=True)
    assert looks.confirm(WEB, 10) is None, "nothing new"
    assert looks.confirm(WEB, 15) is not None and looks.intact_at("p1") == 15
    looks.note(verdict(WEB, 20, State.DRIFTED), clean=False)
    assert looks.confirm(WEB, 25) is None and looks.intact_at("p1") is None


def test_what_differs_is_expected_only_if_it_is_in_every_scope() -> None:
    looks = Looks()
    assert not looks.expects(WEB)
    looks.note(verdict(WEB, 10), clean=True)
    assert not looks.expects(WEB), "nobody told how it differs"
    looks.note(verdict(WEB, 10, State.DRIFTED), clean=False, calm=True, differs=True)
    looks.note(verdict(SIDECAR, 10, State.DRIFTED), clean=False, differs=True)
    assert looks.expects(WEB) and not looks.expects(SIDECAR)
    looks.note(verdict(WEB, 11, State.DRIFTED, Scope.LAYERS), clean=False, differs=True)
    assert not looks.expects(WEB)


def covered(container: Container, verdict: str = "Intact") -> Coverage:
    return Coverage(container=container, verdict=verdict, baseline_root=None, grade="", verified_at=1.0, layers_verified_at=0.0)


def test_a_container_that_is_gone_does_not_keep_its_pod_from_being_intact() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10, State.DRIFTED), clean=False)
    looks.note(verdict(SIDECAR, 20), clean=True)
    assert looks.intact_at("p1") is None
    looks.keep("n", [covered(SIDECAR)])
    assert looks.intact_at("p1") == 20


def test_a_container_nobody_looked_at_yet_keeps_its_pod_from_counting_as_intact() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10), clean=True)
    looks.keep("n", [covered(WEB), covered(SIDECAR, "Pending")])
    assert looks.intact_at("p1") is None
    looks.keep("n", [covered(WEB), covered(SIDECAR)])
    assert looks.intact_at("p1") == 10


def test_a_pod_of_which_only_the_clean_containers_were_told_again_does_not_count_as_intact() -> None:
    """After a restart of the controller, of whom nodes tell everything anew, one container after the other."""
    looks = Looks()
    looks.keep("n", [covered(WEB, "Drifted"), covered(SIDECAR)])
    looks.note(verdict(SIDECAR, 20), clean=True)
    looks.note(verdict(WEB, 20, scope=Scope.LAYERS), clean=True)
    assert looks.intact_at("p1") is None
    looks.note(verdict(WEB, 21, State.DRIFTED), clean=False)
    assert looks.intact_at("p1") is None
    looks.note(verdict(WEB, 22), clean=True)
    assert looks.intact_at("p1") == 20


def test_one_node_speaks_for_no_other_nodes_containers() -> None:
    looks = Looks()
    looks.note(verdict(WEB, 10), clean=True)
    looks.keep("other", [])
    assert looks.intact_at("p1") == 10


def test_an_unknown_pod_was_never_seen() -> None:
    assert Looks().intact_at("p9") is None and not Looks().has("p9") and Looks().verdicts("p9") == ()
