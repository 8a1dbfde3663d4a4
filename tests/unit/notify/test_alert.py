"""One alert per incident, and news only when there is news."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.sinks.stdout import format_line
from intact.adapters.sinks.syslog import format_alert
from intact.adapters.sinks.webhook import make_event
from intact.model.alert import Alert, AlertKind
from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, PodFacts, Reported, Seen, Workload
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause
from intact.notify.alert import MAX_PATHS, alert_for_decision, alert_for_forged, alert_for_incident, alert_for_outcome

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="w1")
POD = PodFacts(uid="p1", namespace="shop", name="web-1", node="n1", labels=(), workload=WEB)
CONTAINER = Container(id="c1", name="nginx", image="web:1", image_key=None, node="n1")
SEEN = Seen(
    finding_id="f", path=b"/a", change="Added", level=Level.HIGH, pod_uid="p1", pod="web-1", node="n1", revision="r", at=1.0, actual="-"
)  # fmt: skip
OPEN = Incident(
    id="i1",
    workload=WEB,
    state=IncidentState.OPEN,
    cause=Cause.UNKNOWN,
    level=Level.MEDIUM,
    first_seen=1.0,
    last_seen=1.0,
    count=1,
    seen=(SEEN,),
    policy="shop/web",
)
DECISION = Decision(
    name="d1", incident_id="i1", action=ActionKind.ROLL_BACK, workload=WEB, pod=None, reason="Medium in shop/web", policy="shop/web", at=2.0
)


def make_reported(path: bytes, level: Level = Level.MEDIUM, change: Change = Change.MODIFIED, process: str = "") -> Reported:
    expected = None if change is Change.ADDED else Entry(path=path, kind=Kind.FILE, mode=0o644, digest=Digest.of(b"good"))
    actual = Entry(path=path, kind=Kind.FILE, mode=0o4755, uid=7, digest=Digest.of(b"bad"))
    finding = Finding(
        container=CONTAINER,
        difference=Difference(path=path, change=change, expected=expected, actual=actual),
        level=level,
        rule="r",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=1.5,
        process=process,
    )
    return Reported(finding=finding, pod=POD)


def test_a_new_incident_tells_what_where_who_when_expected_and_actual() -> None:
    alert = alert_for_incident(None, OPEN, [make_reported(b"/usr/sbin/nginx", process="sh (pid 12)")], now=3.0)
    assert alert is not None and alert.kind is AlertKind.OPENED and alert.policy == "shop/web" and alert.workload == WEB
    (path,) = alert.paths
    assert path.expected == f"{Digest.of(b'good')} 0644 0:0" and path.actual == f"{Digest.of(b'bad')} 4755 7:0"
    assert (path.pod, path.node, path.container, path.process, path.at) == ("shop/web-1", "n1", "nginx", "sh (pid 12)", 1.5)
    assert alert.summary == (
        "Deployment shop/web differs from its image: 1 finding; Modified /usr/sbin/nginx in shop/web-1 on n1 by sh (pid 12)"
    )


def test_more_files_of_the_same_incident_are_not_news() -> None:
    assert alert_for_incident(OPEN, replace(OPEN, count=900, last_seen=9.0), [], now=9.0) is None


def test_a_higher_level_and_another_cause_are_news_once() -> None:
    raised = alert_for_incident(OPEN, replace(OPEN, level=Level.CRITICAL), [], now=9.0)
    cause = alert_for_incident(OPEN, replace(OPEN, cause=Cause.REVISION), [], now=9.0)
    again = alert_for_incident(OPEN, replace(OPEN, level=Level.CRITICAL, count=5), [], now=99.0)
    assert raised and cause and again and raised.kind is cause.kind is AlertKind.RAISED
    assert raised.id == again.id != cause.id
    assert alert_for_incident(replace(OPEN, level=Level.CRITICAL), OPEN, [], now=9.0) is None


def test_the_end_is_news_once() -> None:
    resolved = replace(OPEN, state=IncidentState.RESOLVED)
    alert = alert_for_incident(OPEN, resolved, [], now=9.0)
    assert alert and alert.kind is AlertKind.RESOLVED and "intact again" in alert.summary
    assert alert_for_incident(resolved, resolved, [], now=9.0) is None


def test_an_action_is_told_when_decided_and_when_done_and_a_refusal_with_its_reason() -> None:
    decided = alert_for_decision(OPEN, DECISION, [], now=3.0)
    assert decided and decided.action == "RollBack" and decided.phase == "Proposed" and decided.reason == "Medium in shop/web"
    refused = alert_for_decision(OPEN, replace(DECISION, refused="budget used up"), [], now=3.0)
    assert refused and refused.phase == "Refused" and "budget used up" in refused.summary
    running = Outcome(decision=DECISION, phase=Phase.RUNNING, message="", at=4.0)
    assert alert_for_outcome(OPEN, running, [], now=4.0) is None
    told = [
        alert_for_outcome(OPEN, replace(running, phase=phase), [], now=4.0) for phase in (Phase.SUCCEEDED, Phase.VERIFIED, Phase.FAILED)
    ]
    assert len({alert.id for alert in told if alert}) == 3


def test_the_decision_to_alert_is_the_incident_itself() -> None:
    assert alert_for_decision(OPEN, replace(DECISION, action=ActionKind.ALERT), [], now=3.0) is None


def test_the_gravest_paths_come_first_and_their_number_is_bounded() -> None:
    many = [make_reported(b"/tmp/%d" % n, Level.LOW, Change.ADDED) for n in range(500)]
    alert = alert_for_incident(
        None, replace(OPEN, count=502), [*many, make_reported(b"/z", Level.HIGH), make_reported(b"/b", Level.LOW)], now=1.0
    )
    assert alert and [path.path for path in alert.paths[:3]] == [b"/z", b"/b", b"/tmp/0"]
    assert len(alert.paths) == MAX_PATHS and alert.paths_total == 502


def test_a_node_that_forges_reports_is_told_of_once_an_hour_whatever_it_claims() -> None:
    alerts = [alert_for_forged("n1", f"pod {n}\n", "runs on n2", now=7200.0 + n) for n in range(100)]
    assert len({alert.id for alert in alerts}) == 1 and alerts[0].kind is AlertKind.FORGED and alerts[0].level is Level.CRITICAL
    assert alerts[0].summary.isprintable()
    assert alert_for_forged("n1", "", "", now=10800.0).id != alerts[0].id
    assert alert_for_forged("n2", "", "", now=7200.0).id != alerts[0].id


@given(st.binary(min_size=1, max_size=60), st.text(max_size=20), st.floats())
def test_no_name_can_put_a_control_character_or_a_second_line_into_what_people_read(name: bytes, process: str, at: float) -> None:
    reported = make_reported(b"/" + name, process=process)
    reported = replace(
        reported, finding=replace(reported.finding, observed_at=at, container=replace(CONTAINER, name=process, node=process))
    )
    alert = alert_for_incident(None, replace(OPEN, explanation=process, policy=process), [reported], now=3.0)
    assert isinstance(alert, Alert)
    assert alert.summary.isprintable()
    assert all(line.isprintable() for line in format_line(alert).split("\n")) and format_line(alert).count("\n") == 1
    message = format_alert(alert, hostname=process, app_name="intact", process_id=1)
    assert message.decode().replace("\ufeff", "").isprintable()
    assert make_event(alert, "/intact/test")["data"]
