"""An incident and its decisions: the cure follows the cause, every guard rail holds, and nothing is said or done twice."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from intact.decide.expect import is_clean, select_counting
from intact.decide.reducer import MAX_COUNTED, MAX_SEEN, record_outcome, reduce, resolve
from intact.decide.summary import summarise_paths
from intact.model.facts import NoTarget, WorkloadFacts
from intact.model.finding import Change, Level, State, Verdict
from intact.model.incident import IncidentState, Phase, Reported, Workload
from intact.model.layer import Grade
from intact.model.observation import Scope, Unobserved
from intact.model.policy import ActionKind, Cause, Expectation, Guard, Mode, PathLevel, Policy, RollbackTo
from tests.unit.decide.cases import ENFORCE, WEB, WISH, facts, found, opened, outcome, pod, rule, sort
from tests.unit.trees import CONTAINER, file

A, B, C = pod("a", "n1"), pod("b", "n2"), pod("c", "n1")
OBSERVE = replace(ENFORCE, mode=Mode.OBSERVE)


# -- what counts -------------------------------------------------------------------------------------------------------


def test_the_first_finding_opens_an_incident_and_one_alert_tells_of_it() -> None:
    incident, decisions = reduce(None, [found(A), found(A, path=b"/x.php")], OBSERVE, facts(), 1001.0)
    assert incident is not None
    assert (incident.state, incident.level, incident.cause, incident.count) == (IncidentState.OPEN, Level.HIGH, Cause.CONTAINER, 2)
    assert (incident.first_seen, incident.pods, incident.nodes, incident.policy) == (1000.0, ("a",), ("n1",), "shop/web")
    assert [d.action for d in decisions] == [ActionKind.ALERT]
    assert "Container" in decisions[0].reason


def test_told_the_same_again_nothing_changes() -> None:
    first, _ = reduce(None, [found(A), found(B)], ENFORCE, facts(), 1001.0)
    assert reduce(first, [found(B), found(A)], ENFORCE, facts(), 1001.0) == (first, ())


@pytest.mark.parametrize(
    ("expectation", "excused"),
    [
        (Expectation(paths=("/usr/share/nginx/**",)), True),
        (Expectation(paths=("/usr/share/nginx/**",), changes=(Change.MODIFIED,)), False),
        (Expectation(paths=("/usr/share/nginx/**",), until=1002.0), True),
        (Expectation(paths=("/usr/share/nginx/**",), until=1001.0), False),
        (Expectation(paths=("/usr/share/nginx/**",), grows=True), True),
        (Expectation(paths=("/var/**",)), False),
    ],
)
def test_what_is_expected_opens_no_incident(expectation: Expectation, excused: bool) -> None:
    policy = replace(OBSERVE, expect=(expectation,))
    incident, _ = reduce(None, [found(A)], policy, facts(), 1001.0)
    assert (incident is None) is excused
    assert (select_counting([found(A)], policy, 1001.0) == ()) is excused


@pytest.mark.parametrize("change", [Change.ADDED, Change.EXECUTED, Change.MOUNTED])
def test_what_runs_and_is_mounted_is_expected_only_by_its_name_and_what_came_into_a_volume_as_other_files(change: Change) -> None:
    one = found(A)
    finding = replace(one.finding, scope=Scope.LIVE, difference=replace(one.finding.difference, change=change))
    for changes, excused in (((), change is Change.ADDED), ((change,), True)):
        policy = replace(OBSERVE, expect=(Expectation(paths=("/usr/share/nginx/**",), changes=changes),))
        assert (select_counting([replace(one, finding=finding)], policy, 1001.0) == ()) is excused


def test_what_is_told_has_the_level_that_the_policy_gives_it() -> None:
    policy = replace(OBSERVE, levels=(PathLevel(paths=("/usr/share/**",), level=Level.CRITICAL),))
    (told,) = select_counting([found(A)], policy, 1001.0)
    assert told.finding.level is Level.CRITICAL and told.finding.id == found(A).finding.id


@pytest.mark.parametrize(("size", "mode", "excused"), [(3, 0o644, True), (9, 0o644, True), (2, 0o644, False), (9, 0o777, False)])
def test_grows_means_not_smaller_and_otherwise_the_same(size: int, mode: int, excused: bool) -> None:
    expected, actual = file(b"/var/app.log", b"abc"), file(b"/var/app.log", b"z" * size, mode)
    fields = ("content", "size", *(("mode",) if mode != 0o644 else ()))
    one = found(A)
    difference = replace(
        one.finding.difference, path=b"/var/app.log", change=Change.MODIFIED, expected=expected, actual=actual, fields=fields
    )
    reported = replace(one, finding=replace(one.finding, difference=difference))
    policy = replace(OBSERVE, expect=(Expectation(paths=("/var/*.log",), grows=True),))
    assert (reduce(None, [reported], policy, facts(), 1001.0)[0] is None) is excused


def test_no_expectation_excuses_read_only_layers_and_only_an_exact_one_excuses_rights() -> None:
    everything = replace(OBSERVE, expect=(Expectation(paths=("**",)),))
    assert reduce(None, [found(A, scope=Scope.LAYERS)], everything, facts(), 1001.0)[0] is not None
    setuid = found(A, path=b"/opt/ping", rule_id="privilege-bits", level=Level.CRITICAL)
    assert reduce(None, [setuid], everything, facts(), 1001.0)[0] is not None
    assert reduce(None, [setuid], replace(OBSERVE, expect=(Expectation(paths=("/opt",)),)), facts(), 1001.0)[0] is not None
    assert reduce(None, [setuid], replace(OBSERVE, expect=(Expectation(paths=("/opt/ping",)),)), facts(), 1001.0)[0] is None


def test_the_last_level_that_matches_decides_and_info_opens_nothing() -> None:
    levels = (PathLevel(paths=("/usr/**",), level=Level.CRITICAL), PathLevel(paths=("*.php",), level=Level.INFO))
    assert reduce(None, [found(A)], replace(OBSERVE, levels=levels), facts(), 1001.0) == (None, ())
    incident, _ = reduce(None, [found(A)], replace(OBSERVE, levels=levels[::-1]), facts(), 1001.0)
    assert opened(incident).level is Level.CRITICAL


def test_switched_off_nothing_happens() -> None:
    assert reduce(None, [found(A)], replace(ENFORCE, mode=Mode.OFF), facts(), 1001.0) == (None, ())


def test_a_flood_is_counted_within_bounds_and_hides_no_pod() -> None:
    flood = [found(A, path=b"/f%d.php" % i, level=Level.CRITICAL) for i in range(MAX_COUNTED + 100)]
    incident, decisions = reduce(None, [found(B, level=Level.CRITICAL, at=1001.0), *flood[:300]], ENFORCE, facts(A, B, C), 1002.0)
    assert len(opened(incident).seen) == MAX_SEEN
    assert {d.pod.name for d in sort(decisions).acts if d.pod} == {"a", "b"}
    incident, decisions = reduce(incident, flood, ENFORCE, facts(A, B, C), 1003.0)
    assert opened(incident).count == MAX_COUNTED
    assert reduce(incident, flood, ENFORCE, facts(A, B, C), 1003.0) == (incident, ())


# -- alerts ------------------------------------------------------------------------------------------------------------


def test_only_a_higher_level_or_a_graver_cause_alerts_again() -> None:
    incident, decisions = reduce(None, [found(A, level=Level.MEDIUM)], OBSERVE, facts(), 1001.0)
    assert len(sort(decisions).alerts) == 1
    names = {decisions[0].name}
    for at, more, expected in [
        (1002.0, found(A, path=b"/2.php", level=Level.MEDIUM), 0),
        (1003.0, found(A, path=b"/3.php", level=Level.LOW), 0),
        (1004.0, found(A, path=b"/4.php", level=Level.CRITICAL), 1),
        (1005.0, found(A, path=b"/5.php", level=Level.HIGH), 0),
        (1006.0, found(B, path=b"/4.php", level=Level.CRITICAL), 1),
        (1007.0, found(B, path=b"/7.php", level=Level.CRITICAL, scope=Scope.LAYERS), 1),
        (1008.0, found(B, path=b"/8.php", level=Level.CRITICAL), 0),
    ]:
        incident, decisions = reduce(incident, [more], OBSERVE, facts(), at)
        assert len(decisions) == expected, at
        names |= {d.name for d in decisions}
    assert len(names) == 4
    assert opened(incident).alerted_causes == (Cause.CONTAINER, Cause.REVISION, Cause.NODE)


# -- causes ------------------------------------------------------------------------------------------------------------


def cause_of(*reported: Reported, **more: object) -> tuple[Cause, str]:
    incident, _ = reduce(None, reported, OBSERVE, facts(A, B, C, **more), 2000.0)
    return opened(incident).cause, opened(incident).explanation


def test_the_cause_and_its_evidence() -> None:
    assert cause_of(found(A))[0] is Cause.CONTAINER
    assert cause_of(found(A), found(C))[0] is Cause.CONTAINER, "two pods on one node: one node's word"
    assert cause_of(found(A), found(B, content=b"other"))[0] is Cause.CONTAINER, "not the same drift"
    assert cause_of(found(A), found(pod("b", "n2", "h1")))[0] is Cause.CONTAINER, "not the same revision"
    unread = replace(file(b"/usr/share/nginx/html/shell.php", b"same size"), digest=None)
    assert cause_of(found(A, actual=unread), found(B, actual=unread))[0] is Cause.CONTAINER, "nobody read whether they are the same"
    cause, why = cause_of(found(A), found(B))
    assert cause is Cause.REVISION
    assert "a, b" in why
    assert "n1, n2" in why
    cause, why = cause_of(found(A, scope=Scope.LAYERS))
    assert cause is Cause.NODE
    assert "read-only layers on n1" in why
    assert cause_of(found(A), unobserved=("layers of pod a",)) == (Cause.UNKNOWN, "could not be observed: layers of pod a")


def test_a_harmless_file_in_every_pod_does_not_make_a_web_shell_in_one_come_from_the_revision() -> None:
    cache = [found(where, path=b"/app/__pycache__/m.pyc", level=Level.LOW) for where in (A, B)]
    assert cause_of(*cache, found(A))[0] is Cause.CONTAINER


def test_the_same_drift_in_the_replacement_comes_from_the_revision() -> None:
    single = facts(A)
    incident, decisions = reduce(None, [found(A)], ENFORCE, single, 1001.0)
    (restart,) = sort(decisions).acts
    incident = record_outcome(opened(incident), outcome(restart, Phase.VERIFIED, 1060.0))
    fresh = pod("a2")
    incident = resolve(incident, facts(replace(fresh, intact_at=1050.0)), 1100.0)
    assert incident.state is IncidentState.RESOLVED
    later = facts(fresh, recent=incident.seen, actions=incident.taken)
    again, _ = reduce(incident, [found(fresh, at=1200.0, started_at=1040.0)], ENFORCE, later, 1201.0)
    assert (opened(again).cause, opened(again).id != incident.id) == (Cause.REVISION, True)
    older, _ = reduce(incident, [found(fresh, at=1200.0, started_at=900.0)], ENFORCE, later, 1201.0)
    assert opened(older).cause is Cause.CONTAINER, "that container was there before"


# -- responses ---------------------------------------------------------------------------------------------------------


def test_enforce_restarts_the_drifted_pod_and_no_other() -> None:
    incident, decisions = reduce(None, [found(A)], ENFORCE, facts(), 1001.0)
    (restart,) = sort(decisions).acts
    assert (restart.action, restart.pod and restart.pod.name, restart.refused) == (ActionKind.RESTART_POD, "a", "")
    assert opened(incident).state is IncidentState.ACTING


def test_enforce_rolls_back_what_comes_with_the_revision() -> None:
    _, decisions = reduce(None, [found(A), found(B)], ENFORCE, facts(), 1001.0)
    (rollback,) = sort(decisions).acts
    assert (rollback.action, rollback.to, rollback.target) == (ActionKind.ROLL_BACK, "LastKnownGood", "web-1")


def test_enforce_does_nothing_about_low_or_unknown() -> None:
    assert sort(reduce(None, [found(A, level=Level.LOW)], ENFORCE, facts(), 1001.0)[1]).acts == ()
    assert sort(reduce(None, [found(A, scope=Scope.LAYERS)], ENFORCE, facts(), 1001.0)[1]).acts == ()


def test_the_plain_wish_rolls_the_deployment_back_on_any_change_of_an_image_file() -> None:
    _, decisions = reduce(None, [found(A, level=Level.MEDIUM)], WISH, facts(A), 1001.0)
    (rollback,) = sort(decisions).acts
    assert rollback.action is ActionKind.ROLL_BACK
    assert sort(reduce(None, [found(A, level=Level.LOW)], WISH, facts(A), 1001.0)[1]).acts == ()


def test_an_unknown_cause_and_a_bad_node_are_never_acted_upon_even_if_a_rule_would() -> None:
    _, decisions = reduce(None, [found(A, scope=Scope.LAYERS)], WISH, facts(A), 1001.0)
    assert sort(decisions).acts == ()
    assert "Node" in sort(decisions).refused[0].refused
    _, decisions = reduce(None, [found(A)], WISH, facts(A, unobserved=("layers of pod a",)), 1001.0)
    assert sort(decisions).acts == ()
    assert "Unknown" in sort(decisions).refused[0].refused


def test_it_keeps_coming_back_is_counted_over_earlier_incidents() -> None:
    policy = replace(
        WISH,
        respond=(rule(ActionKind.RESTART_POD, level=Level.HIGH), rule(ActionKind.ROLL_BACK, level=Level.HIGH, count=3, within_s=600.0)),
        guard=replace(WISH.guard, cooldown_s=0.0, max_actions=10),
    )
    earlier = opened(reduce(None, [found(pod("x"), at=700.0), found(pod("y"), at=300.0)], OBSERVE, facts(A), 701.0)[0]).seen
    _, decisions = reduce(None, [found(A)], policy, facts(A, recent=earlier), 1001.0)
    assert [d.action for d in sort(decisions).acts] == [ActionKind.RESTART_POD], "one of them is too long ago"
    earlier = tuple(replace(s, at=900.0) for s in earlier)
    _, decisions = reduce(None, [found(A)], policy, facts(A, recent=earlier), 1001.0)
    assert [d.action for d in sort(decisions).acts] == [ActionKind.ROLL_BACK]


def test_where_the_strongest_action_is_refused_the_next_weaker_one_is_taken() -> None:
    policy = replace(WISH, respond=(replace(rule(ActionKind.ROLL_BACK), do=(ActionKind.RESTART_POD, ActionKind.ROLL_BACK)),))
    _, decisions = reduce(None, [found(A)], policy, facts(A, paused=True), 1001.0)
    told = sort(decisions)
    assert [d.refused for d in told.refused] == ["the rollout is paused"]
    assert [d.action for d in told.acts] == [ActionKind.RESTART_POD]


def test_observe_only_ever_alerts() -> None:
    policy = replace(WISH, mode=Mode.OBSERVE)
    _, decisions = reduce(None, [found(A), found(B)], policy, facts(), 1001.0)
    assert [d.action for d in decisions] == [ActionKind.ALERT]


def test_nothing_is_done_to_pods_that_are_gone_or_intact_again() -> None:
    assert sort(reduce(None, [found(A)], ENFORCE, facts(B), 1001.0)[1]).acts == ()
    assert sort(reduce(None, [found(A)], ENFORCE, facts(replace(A, intact_at=1000.5)), 1001.0)[1]).acts == ()


# -- guard rails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "known", "reason"),
    [
        (replace(WISH, guard=Guard()), facts(A), "corroboration"),
        (WISH, facts(A, paused=True), "paused"),
        (WISH, facts(A, rolling_out=True), "under way"),
        (WISH, facts(A, rolled_back=True), "one automatic step"),
        (WISH, facts(A, managed_by="Argo CD"), "Argo CD owns"),
        (WISH, facts(A, revision="h3"), "current revision"),
        (WISH, facts(A, revision=""), "current revision"),
        (WISH, facts(A, targets=((RollbackTo.LAST_KNOWN_GOOD, NoTarget(reason="never soaked")),)), "never soaked"),
        (replace(WISH, guard=replace(WISH.guard, rollback_to=RollbackTo.PREVIOUS)), facts(A), "no revision to go back to: none"),
        (WISH, facts(A, workload=replace(WEB, kind="StatefulSet")), "cannot be rolled back"),
        (WISH, facts(A, workload=replace(WEB, namespace="kube-system")), "only observed"),
        (WISH, facts(A, workload=replace(WEB, namespace="intact-system")), "only observed"),
        (replace(WISH, guard=replace(WISH.guard, max_actions=0)), facts(A), "budget"),
        (replace(WISH, require=Grade.SIGNED), facts(A), "only Verified, the policy requires Signed"),
        (WISH, facts(A, B, pod("d"), pod("e"), ready=0), "minReady"),
        (ENFORCE, facts(A, B, ready=1), "minReady"),
        (ENFORCE, facts(A, workload=Workload(kind="Pod", namespace="shop", name="bare")), "does not replace"),
        (ENFORCE, facts(A, workload=Workload(kind="Job", namespace="shop", name="once")), "does not replace"),
    ],
)
def test_a_guard_rail_refuses_with_its_reason_and_is_told_once(policy: Policy, known: WorkloadFacts, reason: str) -> None:
    incident, decisions = reduce(None, [found(A)], policy, known, 1001.0)
    told = sort(decisions)
    assert told.acts == ()
    assert [reason in d.refused for d in told.refused] == [True]
    assert opened(incident).state is IncidentState.OPEN
    assert reduce(incident, [found(A, at=1002.0)], policy, known, 1003.0)[1] == ()


def test_what_was_refused_for_a_weak_baseline_is_done_when_the_same_finding_is_told_against_a_better_one() -> None:
    policy = replace(ENFORCE, require=Grade.VERIFIED)
    incident, decisions = reduce(None, [found(A, grade=Grade.NODE_REPORTED)], policy, facts(A), 1001.0)
    assert sort(decisions).acts == () and "only NodeReported" in sort(decisions).refused[0].refused
    incident, decisions = reduce(incident, [found(A, grade=Grade.VERIFIED, at=1010.0)], policy, facts(A), 1011.0)
    assert [d.action for d in sort(decisions).acts] == [ActionKind.RESTART_POD] and opened(incident).count == 1


def test_a_single_replica_may_be_restarted() -> None:
    assert len(sort(reduce(None, [found(A)], ENFORCE, facts(A), 1001.0)[1]).acts) == 1


def test_pods_are_restarted_as_readiness_and_budget_allow() -> None:
    pods = [pod(f"p{i}") for i in range(5)]
    reported = [found(p, path=b"/%d.php" % i) for i, p in enumerate(pods)]
    _, decisions = reduce(None, reported, replace(ENFORCE, guard=Guard(max_actions=3)), facts(*pods), 1001.0)
    told = sort(decisions)
    assert [d.pod and d.pod.name for d in told.acts] == ["p0", "p1", "p2"]
    assert [d.refused for d in told.refused] == ["budget: 3 actions per 1h"]
    _, decisions = reduce(None, reported, replace(ENFORCE, guard=Guard(max_actions=9, min_ready=3)), facts(*pods), 1001.0)
    assert len(sort(decisions).acts) == 2


def test_after_the_cooldown_a_refused_action_is_taken_under_another_name() -> None:
    incident, decisions = reduce(None, [found(A)], ENFORCE, facts(A, B, C), 1001.0)
    (first,) = sort(decisions).acts
    incident = record_outcome(opened(incident), outcome(first, Phase.VERIFIED, 1030.0))
    now = facts(pod("a2", intact_at=1020.0), B, C)
    incident, decisions = reduce(incident, [found(B, path=b"/2.php", at=1100.0)], ENFORCE, now, 1101.0)
    (refused,) = sort(decisions).refused
    assert refused.refused == "cooldown: another action within 5m"
    incident, decisions = reduce(incident, [], ENFORCE, now, 1302.0)
    (second,) = sort(decisions).acts
    assert second.pod is not None
    assert second.pod.name == "b"
    assert len({first.name, refused.name, second.name}) == 3


def test_a_failed_action_is_tried_again_and_spends_the_budget() -> None:
    policy = replace(ENFORCE, guard=Guard(max_actions=2, cooldown_s=10.0))
    incident, names = None, set()
    reported, now = [found(A)], 1001.0
    for _ in range(2):
        incident, decisions = reduce(incident, reported, policy, facts(A), now)
        (act,) = sort(decisions).acts
        names.add(act.name)
        incident, reported, now = record_outcome(opened(incident), outcome(act, Phase.FAILED, now + 5)), [], now + 20
    assert len(names) == 2
    _, decisions = reduce(incident, [], policy, facts(A), now)
    assert [d.refused for d in decisions] == ["budget: 2 actions per 1h"]


def test_while_a_rollback_is_on_its_way_nothing_else_is_done() -> None:
    incident, decisions = reduce(None, [found(A)], WISH, facts(), 1001.0)
    (rollback,) = sort(decisions).acts
    for phase in (Phase.PROPOSED, Phase.RUNNING, Phase.SUCCEEDED):
        incident = record_outcome(opened(incident), outcome(rollback, phase, 1002.0))
        incident, decisions = reduce(incident, [found(B, path=b"/%s" % phase.value.encode(), at=1500.0)], WISH, facts(), 1501.0)
        assert decisions == ()
    assert opened(incident).state is IncidentState.ACTING


def test_what_other_incidents_did_counts_for_cooldown_and_budget() -> None:
    earlier = opened(reduce(None, [found(C, at=900.0)], ENFORCE, facts(A, B, C), 901.0)[0]).taken
    _, decisions = reduce(None, [found(A)], ENFORCE, facts(A, B, C, actions=earlier), 1001.0)
    assert [d.refused for d in sort(decisions).refused] == ["cooldown: another action within 5m"]


# -- the end -----------------------------------------------------------------------------------------------------------


def test_an_incident_is_over_when_its_pods_are_gone_or_intact_after_the_last_finding() -> None:
    incident = opened(reduce(None, [found(A), found(B, at=1010.0)], OBSERVE, facts(), 1011.0)[0])
    intact_a, intact_b = replace(A, intact_at=1005.0), replace(B, intact_at=1011.0)
    assert resolve(incident, facts(A, intact_b), 1100.0).state is IncidentState.OPEN
    assert resolve(incident, facts(intact_a, replace(B, intact_at=1009.0)), 1100.0).state is IncidentState.OPEN
    assert resolve(incident, facts(intact_a, intact_b), 1100.0).state is IncidentState.RESOLVED
    assert resolve(incident, facts(intact_b, C), 1100.0).state is IncidentState.RESOLVED


def test_an_incident_is_not_over_while_an_action_is_unproven() -> None:
    incident, decisions = reduce(None, [found(A)], ENFORCE, facts(), 1001.0)
    (restart,) = sort(decisions).acts
    incident = record_outcome(opened(incident), outcome(restart, Phase.SUCCEEDED, 1010.0))
    assert resolve(incident, facts(B), 1100.0).state is IncidentState.ACTING
    incident = record_outcome(incident, outcome(restart, Phase.VERIFIED, 1020.0))
    assert resolve(incident, facts(B), 1100.0).state is IncidentState.RESOLVED


def test_a_late_copy_of_an_old_finding_opens_nothing_and_new_drift_opens_another_incident() -> None:
    first = opened(reduce(None, [found(A)], OBSERVE, facts(), 1001.0)[0])
    over = resolve(first, facts(replace(A, intact_at=1005.0), B), 1010.0)
    assert reduce(over, [found(A)], OBSERVE, facts(), 1100.0) == (over, ())
    again, decisions = reduce(over, [found(A, at=1090.0)], OBSERVE, facts(), 1100.0)
    assert opened(again).id != over.id
    assert len(decisions) == 1


@pytest.mark.parametrize(
    ("verdict", "clean"),
    [
        (Verdict(container=CONTAINER, state=State.INTACT, scope=Scope.DRIFT), True),
        (Verdict(container=CONTAINER, state=State.UNOBSERVED, scope=Scope.DRIFT), False),
        (Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(found(A).finding,)), True),
        (Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(found(A, path=b"/x").finding,)), False),
        (Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(found(A).finding,), untold=1), False),
        (
            Verdict(
                container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(found(A).finding,),
                unobserved=(Unobserved(path=b"/", reason="EIO"),),
            ),
            False,
        ),
    ],
)  # fmt: skip
def test_a_look_is_clean_only_if_everything_was_seen_and_expected(verdict: Verdict, clean: bool) -> None:
    assert is_clean(verdict, replace(OBSERVE, expect=(Expectation(paths=("*.php",)),)), 1001.0) is clean


def test_names_are_names_of_kubernetes_objects_whatever_the_workload_is_called() -> None:
    for name in ("web", "Web_9--", "x" * 253, "…", "container/id"):
        workload = replace(WEB, name=name)
        incident, decisions = reduce(None, [found(A, workload=workload)], ENFORCE, facts(A, workload=workload), 1001.0)
        for text in (opened(incident).id, *(d.name for d in decisions)):
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text)


def test_a_person_reads_the_gravest_paths_first_each_once() -> None:
    reported = [found(A, path=b"/low", level=Level.LOW), found(A), found(B)]
    incident = opened(reduce(None, reported, OBSERVE, facts(), 1001.0)[0])
    paths = summarise_paths(incident)
    assert [(p.path, p.pods) for p in paths] == [(b"/usr/share/nginx/html/shell.php", ("a", "b")), (b"/low", ("a",))]
    assert (paths[0].expected, paths[0].actual.startswith("sha256:"), len(summarise_paths(incident, 1))) == ("-", True, 1)
