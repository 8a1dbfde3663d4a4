"""What is done about a workload whose image is not trusted: told, and rolled back by a rule that says so, within the guard rails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.decide.reducer import reduce
from intact.decide.target import choose_target
from intact.model.facts import NoTarget, WorkloadFacts
from intact.model.finding import Level
from intact.model.incident import Decision, Matter
from intact.model.policy import ActionKind, Cause, Guard, Mode, Policy, RollbackTo
from tests.unit.decide.cases import ENFORCE, TARGET, WEB, facts, pod, rule

UNSIGNED = Matter(
    subject=WEB, key="r/web@sha256:0", cause=Cause.IMAGE_TRUST, level=Level.HIGH, text="it has no signature", at=900.0, pods=("a",)
)
RULE = replace(ENFORCE, respond=(rule(ActionKind.ROLL_BACK, causes=(Cause.IMAGE_TRUST,)),))


def decide(policy: Policy, known: WorkloadFacts) -> list[Decision]:
    incident, decisions = reduce(None, (), policy, known, 1000.0)
    assert incident is not None
    assert incident.cause is Cause.IMAGE_TRUST
    return list(decisions)


def actions(policy: Policy, known: WorkloadFacts) -> list[tuple[ActionKind, str]]:
    return [(one.action, one.refused) for one in decide(policy, known)]


def test_without_a_rule_that_names_the_cause_people_are_told_and_nothing_is_done() -> None:
    for policy in (ENFORCE, replace(ENFORCE, respond=(rule(ActionKind.ROLL_BACK),)), replace(RULE, mode=Mode.OBSERVE)):
        assert actions(policy, facts(matters=(UNSIGNED,))) == [(ActionKind.ALERT, "")]


def test_a_rule_that_names_the_cause_rolls_back_without_a_second_node() -> None:
    _, rollback = decide(RULE, facts(matters=(UNSIGNED,)))
    assert (rollback.action, rollback.refused, rollback.target) == (ActionKind.ROLL_BACK, "", TARGET.name)
    assert "it has no signature" in rollback.reason


@pytest.mark.parametrize(
    ("policy", "known", "reason"),
    [
        (RULE, facts(managed_by="Argo CD"), "Argo CD owns the workload"),
        (RULE, facts(rolled_back=True), "rolled back once already"),
        (RULE, facts(paused=True), "paused"),
        (RULE, facts(pod("a", revision="h1"), pod("b")), "not of the current revision"),
        (RULE, facts(targets=((RollbackTo.LAST_KNOWN_GOOD, NoTarget(reason="none is signed")),)), "none is signed"),
        (replace(RULE, guard=Guard(max_actions=0)), facts(), "budget"),
        (RULE, facts(own_namespace="shop"), "only observed"),
    ],
)
def test_a_guard_rail_refuses_it_with_its_reason(policy: Policy, known: WorkloadFacts, reason: str) -> None:
    (_, (action, refused)) = actions(policy, replace(known, matters=(UNSIGNED,)))
    assert action is ActionKind.ROLL_BACK
    assert reason in refused


def test_a_level_that_is_not_reached_does_nothing() -> None:
    policy = replace(ENFORCE, respond=(rule(ActionKind.ROLL_BACK, causes=(Cause.IMAGE_TRUST,), level=Level.CRITICAL),))
    assert actions(policy, facts(matters=(UNSIGNED,))) == [(ActionKind.ALERT, "")]


def test_a_revision_whose_images_are_not_known_to_be_signed_is_no_target() -> None:
    seen_good = replace(TARGET, intact_since=0.0, intact_until=10_000.0)
    assert choose_target([seen_good], "h2", RollbackTo.LAST_KNOWN_GOOD, 600.0) == seen_good
    refused = choose_target([seen_good], "h2", RollbackTo.LAST_KNOWN_GOOD, 600.0, lambda record: False)
    assert isinstance(refused, NoTarget)
    assert "known to be signed" in refused.reason
