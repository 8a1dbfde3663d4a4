"""An action is proven by looks at the new pods, and by nothing less."""

from __future__ import annotations

from dataclasses import replace

from intact.act.ports import PodState
from intact.act.verify import DEADLINE_S, verify
from intact.model.container import Container
from intact.model.finding import State, Verdict
from intact.model.incident import Outcome, Phase
from intact.model.observation import Scope
from intact.model.policy import ActionKind
from tests.unit.act.world import decision, pod

ACTED_AT = 100.0
RESTART = Outcome(decision=decision(ActionKind.RESTART_POD), phase=Phase.RUNNING, message="", at=ACTED_AT)
ROLL_BACK = Outcome(decision=decision(ActionKind.ROLL_BACK), phase=Phase.RUNNING, message="", at=ACTED_AT, revision="h9")
NEW1, NEW2 = pod("n1", revision="h9"), pod("n2", revision="h9")


def look(state: State, at: float = 120.0, scope: Scope = Scope.DRIFT, name: str = "web") -> Verdict:
    return Verdict(container=Container(id="c", name=name, image="", image_key=None, node="node1"), state=state, scope=scope, at=at)


def prove(outcome: Outcome, pods: list[PodState], seen: dict[str, list[Verdict]], now: float = 130.0, wanted: int = 2) -> Outcome:
    looks = {uid: tuple(verdicts) for uid, verdicts in seen.items()}
    return verify(outcome, pods, looks, wanted=wanted, acted_at=ACTED_AT, now=now)


INTACT = {"n1": [look(State.INTACT)], "n2": [look(State.INTACT)]}


def test_rollback_is_verified_when_all_new_pods_were_seen_intact() -> None:
    assert prove(ROLL_BACK, [NEW1, NEW2], INTACT).phase is Phase.VERIFIED


def test_it_waits_while_an_old_pod_is_there_even_terminating() -> None:
    old = pod("p1", revision="h2", terminating=True)
    waiting = prove(ROLL_BACK, [old, NEW1, NEW2], INTACT)
    assert waiting is ROLL_BACK


def test_it_waits_for_enough_ready_pods() -> None:
    assert prove(ROLL_BACK, [NEW1, replace(NEW2, ready=False)], INTACT).phase is Phase.RUNNING


def test_ready_pods_that_nobody_looked_at_are_succeeded_not_verified() -> None:
    assert prove(ROLL_BACK, [NEW1, NEW2], {"n1": INTACT["n1"]}).phase is Phase.SUCCEEDED


def test_a_look_before_the_container_started_proves_nothing() -> None:
    early = {"n1": [look(State.INTACT, at=109.0)], "n2": [look(State.INTACT)]}
    assert prove(ROLL_BACK, [NEW1, NEW2], early).phase is Phase.SUCCEEDED


def test_could_not_look_is_never_verified() -> None:
    blind = {**INTACT, "n2": [look(State.INTACT, at=115.0), look(State.UNOBSERVED, at=121.0)]}
    waiting = prove(ROLL_BACK, [NEW1, NEW2], blind)
    assert waiting.phase is Phase.SUCCEEDED
    assert "could not be looked at" in waiting.message


def test_a_look_at_the_layers_alone_proves_nothing_about_the_container() -> None:
    layers = {**INTACT, "n2": [look(State.INTACT, scope=Scope.LAYERS)]}
    assert prove(ROLL_BACK, [NEW1, NEW2], layers).phase is Phase.SUCCEEDED


def test_a_new_pod_that_drifts_is_a_failure_at_once() -> None:
    drifted = {**INTACT, "n2": [look(State.DRIFTED)]}
    failed = prove(ROLL_BACK, [NEW1, NEW2], drifted)
    assert failed.phase is Phase.FAILED
    assert "web-n2" in failed.message


def test_every_container_of_a_pod_is_needed() -> None:
    both = replace(NEW2, containers=(*NEW2.containers, replace(NEW2.containers[0], name="proxy")))
    assert prove(ROLL_BACK, [NEW1, both], INTACT).phase is Phase.SUCCEEDED
    seen = {**INTACT, "n2": [look(State.INTACT), look(State.INTACT, name="proxy")]}
    assert prove(ROLL_BACK, [NEW1, both], seen).phase is Phase.VERIFIED


def test_past_the_deadline_it_failed_and_says_what_was_missing() -> None:
    failed = prove(ROLL_BACK, [NEW1, NEW2], {"n1": INTACT["n1"]}, now=ACTED_AT + DEADLINE_S)
    assert failed.phase is Phase.FAILED
    assert "web-n2" in failed.message


def test_restart_is_proven_by_a_pod_made_after_it() -> None:
    neighbour = pod("q", created_at=50.0)
    fresh = pod("n1", created_at=100.0)
    assert prove(RESTART, [neighbour], {"q": [look(State.INTACT)]}).phase is Phase.RUNNING
    assert prove(RESTART, [neighbour, fresh], {"q": [look(State.INTACT)]}).phase is Phase.SUCCEEDED
    assert prove(RESTART, [neighbour, fresh], {"n1": [look(State.INTACT)]}).phase is Phase.VERIFIED


def test_restart_waits_until_the_old_pod_is_gone() -> None:
    assert prove(RESTART, [pod("p1"), pod("n1")], {"n1": [look(State.INTACT)]}).phase is Phase.RUNNING


def test_a_workload_scaled_to_nothing_is_not_called_verified() -> None:
    assert prove(ROLL_BACK, [], {}, wanted=0).phase is Phase.SUCCEEDED


def test_what_has_ended_stays_as_it_ended() -> None:
    done = replace(ROLL_BACK, phase=Phase.FAILED)
    assert prove(done, [NEW1, NEW2], INTACT) is done
