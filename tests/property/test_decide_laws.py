"""Laws of decision: said twice changes nothing, order does not matter, Observe never acts, a refusal is never an action."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from intact.decide.reducer import reduce
from intact.model.facts import WorkloadFacts
from intact.model.finding import Level
from intact.model.incident import Reported
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Corroboration, Guard, Mode, Policy, RollbackTo
from tests.unit.decide.cases import ENFORCE, facts, found, pod, rule

PODS = tuple(
    pod(name, node, revision) for name, node, revision in [("a", "n1", "h2"), ("b", "n2", "h2"), ("c", "n1", "h2"), ("d", "n3", "h1")]
)


@st.composite
def findings(draw: st.DrawFn) -> Reported:
    return found(
        draw(st.sampled_from(PODS)),
        path=draw(st.sampled_from([b"/a.php", b"/b.php", b"/c"])),
        level=draw(st.sampled_from(list(Level))),
        at=draw(st.sampled_from([900.0, 950.0, 1000.0])),
        content=draw(st.sampled_from([b"1", b"2"])),
        scope=draw(st.sampled_from([Scope.DRIFT] * 9 + [Scope.LAYERS])),
        grade=draw(st.sampled_from([Grade.NODE_REPORTED, Grade.VERIFIED])),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    levels = st.sampled_from(list(Level))
    actions = st.sampled_from(list(ActionKind))
    rules = st.lists(st.builds(lambda do, level: rule(do, level=level), actions, levels), max_size=3).map(tuple)
    return replace(
        ENFORCE,
        mode=draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE])),
        respond=draw(st.none() | rules),
        require=draw(st.sampled_from([Grade.FIRST_SEEN, Grade.VERIFIED])),
        guard=Guard(
            max_actions=draw(st.integers(0, 4)),
            min_ready=draw(st.integers(0, 3)),
            cooldown_s=draw(st.sampled_from([0.0, 300.0])),
            corroboration=draw(st.sampled_from(list(Corroboration))),
            rollback_to=draw(st.sampled_from(list(RollbackTo))),
        ),
    )


@st.composite
def situations(draw: st.DrawFn) -> WorkloadFacts:
    known = draw(st.lists(st.sampled_from(PODS), min_size=1, unique=True))
    return facts(
        *known,
        paused=draw(st.booleans()),
        rolled_back=draw(st.booleans()),
        unobserved=draw(st.sampled_from([(), (), ("layers of pod a",)])),
    )


BATCHES = st.lists(findings(), max_size=8)


@given(BATCHES, policies(), situations())
def test_the_same_findings_again_change_nothing(batch: list[Reported], policy: Policy, known: WorkloadFacts) -> None:
    first, _ = reduce(None, batch, policy, known, 1001.0)
    assert reduce(first, batch, policy, known, 1001.0) == (first, ())
    assert reduce(first, [], policy, known, 1001.0) == (first, ())


@given(BATCHES, policies(), situations(), st.randoms())
def test_the_order_within_a_batch_does_not_matter(batch: list[Reported], policy: Policy, known: WorkloadFacts, random: object) -> None:
    shuffled = list(batch)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce(None, shuffled, policy, known, 1001.0) == reduce(None, batch, policy, known, 1001.0)


@given(BATCHES, policies(), situations())
def test_observe_never_acts(batch: list[Reported], policy: Policy, known: WorkloadFacts) -> None:
    _, decisions = reduce(None, batch, replace(policy, mode=Mode.OBSERVE), known, 1001.0)
    assert all(one.action is ActionKind.ALERT for one in decisions)


@given(BATCHES, policies(), situations())
def test_no_guard_rail_is_ever_passed(batch: list[Reported], policy: Policy, known: WorkloadFacts) -> None:
    _, decisions = reduce(None, batch, policy, known, 1001.0)
    acts = [one for one in decisions if one.action is not ActionKind.ALERT and not one.refused]
    rollbacks = [one for one in acts if one.action is ActionKind.ROLL_BACK]
    restarts = [one for one in acts if one.action is ActionKind.RESTART_POD]
    assert len(acts) <= policy.guard.max_actions
    assert len(rollbacks) <= 1
    assert not (rollbacks and restarts)
    assert not acts or not known.unobserved
    assert not rollbacks or not (known.paused or known.rolled_back)
    assert not restarts or known.ready - len(restarts) >= min(policy.guard.min_ready, known.desired - 1)
    drifted = {one.pod.uid for one in batch if one.finding.grade >= policy.require}
    assert {one.pod.uid for one in restarts if one.pod} <= drifted
    nodes = {one.pod.node for one in batch if one.finding.grade >= policy.require and one.pod.revision == known.revision}
    assert not rollbacks or policy.guard.corroboration is Corroboration.REPORTER or len(nodes) > 1


@given(st.lists(BATCHES, max_size=6), policies(), situations())
def test_no_decision_is_made_twice_and_alerts_are_few(batches: list[list[Reported]], policy: Policy, known: WorkloadFacts) -> None:
    incident, names, alerts = None, [], 0
    for step, batch in enumerate([*batches, *batches]):
        incident, decisions = reduce(incident, batch, policy, known, 1001.0 + step)
        names += [one.name for one in decisions]
        alerts += sum(one.action is ActionKind.ALERT for one in decisions)
    assert len(names) == len(set(names))
    assert alerts <= 6
    if incident is not None:
        ids = {one.finding.id for batch in batches for one in batch}
        assert incident.count <= len(ids)
        assert incident.level <= max(one.finding.level for batch in batches for one in batch)
