"""Carrying a decision out: once, never by force, and with an outcome that says what happened."""

from __future__ import annotations

from dataclasses import replace

from intact.act.perform import EVICTION_DEADLINE_S, Later, perform
from intact.act.ports import Reference
from intact.model.incident import Decision, Outcome, Phase
from intact.model.policy import ActionKind
from tests.unit.act.world import SHA1, World, decision, deployment, pod, record, revision, template

RESTART = decision(ActionKind.RESTART_POD)
ROLL_BACK = decision(ActionKind.ROLL_BACK)
V1, V2 = revision(1, "reg/web:1"), revision(2, "reg/web:2")
RAN_V1 = record(1, f"reg/web@{SHA1}")


def carry_out(world: World, what: Decision, now: float = 101.0) -> Outcome | Later:
    return perform(what, world, record=RAN_V1, now=now, wait=world.wait)


def test_restart_evicts_the_pod_of_that_uid() -> None:
    world = World(pods={"web-p1": pod()})
    outcome = carry_out(world, RESTART)
    assert isinstance(outcome, Outcome)
    assert outcome.phase is Phase.RUNNING
    assert world.evicted == ["p1"]


def test_a_budget_is_respected_until_the_deadline_and_named_then() -> None:
    world = World(pods={"web-p1": pod()}, blocked_by="web-pdb")
    later = carry_out(world, RESTART)
    assert isinstance(later, Later)
    assert "web-pdb" in later.message
    failed = carry_out(world, RESTART, now=100.0 + EVICTION_DEADLINE_S)
    assert isinstance(failed, Outcome)
    assert failed.phase is Phase.FAILED
    assert "web-pdb" in failed.message
    assert world.evicted == []


def test_a_refused_decision_touches_nothing() -> None:
    world = World(pods={"web-p1": pod()}, deployment=deployment(V1, V2))
    outcome = carry_out(world, replace(RESTART, refused="cooldown"))
    assert isinstance(outcome, Outcome)
    assert (outcome.phase, outcome.message) == (Phase.REFUSED, "cooldown")
    assert world.evicted == [] and world.patched == []


def test_rollback_patches_the_pinned_template_and_names_the_new_revision() -> None:
    world = World(deployment=deployment(V1, V2))
    outcome = carry_out(world, ROLL_BACK)
    assert isinstance(outcome, Outcome)
    assert (outcome.phase, outcome.revision) == (Phase.RUNNING, "h9")
    assert world.patched == [template(f"reg/web@{SHA1}")]


def test_carrying_it_out_twice_patches_once() -> None:
    world = World(deployment=deployment(V1, V2))
    first, second = carry_out(world, ROLL_BACK), carry_out(world, ROLL_BACK)
    assert isinstance(first, Outcome) and isinstance(second, Outcome)
    assert second.revision == first.revision
    assert len(world.patched) == 1


def test_a_deployment_that_changes_in_between_is_planned_again() -> None:
    world = World(deployment=deployment(V1, V2), conflicts=2)
    outcome = carry_out(world, ROLL_BACK)
    assert isinstance(outcome, Outcome)
    assert outcome.phase is Phase.RUNNING
    assert len(world.patched) == 1


def test_a_deployment_that_never_holds_still_is_left_for_later() -> None:
    world = World(deployment=deployment(V1, V2), conflicts=1000)
    assert isinstance(carry_out(world, ROLL_BACK), Later)
    assert world.patched == []


def test_a_missing_config_map_is_named_and_nothing_is_patched() -> None:
    needs = revision(1, "reg/web:1", volumes=[{"name": "v", "configMap": {"name": "site"}}])
    world = World(deployment=deployment(needs, V2))
    outcome = carry_out(world, ROLL_BACK)
    assert isinstance(outcome, Outcome)
    assert outcome.phase is Phase.REFUSED
    assert "ConfigMap site" in outcome.message
    assert world.patched == []


def test_a_secret_that_may_not_be_looked_at_is_trusted_only_if_the_running_revision_uses_it_too() -> None:
    secret = Reference("Secret", "key")
    volumes = [{"name": "v", "secret": {"secretName": "key"}}]
    alone = World(deployment=deployment(revision(1, "reg/web:1", volumes=volumes), V2), hidden=frozenset({secret}))
    refused = carry_out(alone, ROLL_BACK)
    assert isinstance(refused, Outcome)
    assert refused.phase is Phase.REFUSED
    assert "Secret key" in refused.message
    both = deployment(revision(1, "reg/web:1", volumes=volumes), revision(2, "reg/web:2", volumes=volumes))
    shared = carry_out(World(deployment=both, hidden=frozenset({secret})), ROLL_BACK)
    assert isinstance(shared, Outcome)
    assert shared.phase is Phase.RUNNING
