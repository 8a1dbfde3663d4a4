"""The contract of every store: what was kept is there, once, and nothing is half kept."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.database import Database
from intact.adapters.store.incidents import SqlIncidentStore, SqlRemediationStore, SqlRevisionStore
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.reports import SqlReportStore
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.ports import Query
from intact.audit.query import find_leaves, matches
from intact.audit.record import Leaf
from intact.audit.verify import verify_export
from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError, IntactError
from intact.model.finding import Change, Difference, Finding, Level
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, PodFacts, Reported, Workload
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause
from intact.model.revision import RevisionRecord
from intact.model.seam import Coverage
from tests.unit.adapters.store.conftest import Opener

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="w1")
POD = PodFacts(uid="p1", namespace="shop", name="web-1", node="n1", labels=(("app", "web"),), workload=WEB)
CONTAINER = Container(id="c1", name="web", image="web:1", image_key=None, node="n1")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = NoteKey(name="intact/test", public=PRIVATE.public_key().public_bytes_raw())


def make_incident(id: str = "i1", state: IncidentState = IncidentState.OPEN, at: float = 1.0, workload: Workload = WEB) -> Incident:
    return Incident(id=id, workload=workload, state=state, cause=Cause.CONTAINER, level=Level.HIGH, first_seen=at, last_seen=at)


def make_reported(path: bytes, level: Level = Level.HIGH) -> Reported:
    entry = Entry(path=path, kind=Kind.FILE, mode=0o644)
    difference = Difference(path=path, change=Change.ADDED, expected=None, actual=entry)
    finding = Finding(
        container=CONTAINER,
        difference=difference,
        level=level,
        rule="r",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=1.0,
    )
    return Reported(finding=finding, pod=POD)


def make_outcome(name: str = "d1", phase: Phase = Phase.PROPOSED, at: float = 1.0) -> Outcome:
    decision = Decision(
        name=name, incident_id="i1", action=ActionKind.ROLL_BACK, workload=WEB, pod=POD, reason="because", policy="shop/web", at=at
    )
    return Outcome(decision=decision, phase=phase, message="", at=at)


def test_an_incident_is_found_by_its_workload_until_it_is_resolved(database: Database) -> None:
    store = SqlIncidentStore(database)
    store.save(make_incident())
    assert store.find_open(WEB) == store.get("i1") == make_incident()
    assert store.find_open(replace(WEB, uid="w2")) is None
    store.save(make_incident(state=IncidentState.RESOLVED))
    assert store.find_open(WEB) is None and store.list_open() == ()
    assert store.of(WEB, 10) == (store.get("i1"),)
    assert store.of(replace(WEB, uid="w2"), 10) == ()
    store.save(make_incident("i2", at=5.0))
    assert [i.id for i in store.list_open()] == ["i2"]
    assert [i.id for i in store.list_recent(10)] == ["i2", "i1"] and len(store.list_recent(1)) == 1


def test_a_workload_never_has_two_unresolved_incidents(database: Database) -> None:
    store = SqlIncidentStore(database)
    store.save(make_incident("i1"))
    with pytest.raises(IntactError):
        store.save(make_incident("i2"))
    assert store.get("i2") is None


def test_a_finding_told_again_counts_once_in_its_incident_and_anew_in_the_next(database: Database) -> None:
    store = SqlIncidentStore(database)
    store.save(make_incident(state=IncidentState.RESOLVED))
    store.save(make_incident("i2"))
    first, second = make_reported(b"/a"), make_reported(b"/b\xff", Level.CRITICAL)
    assert store.count("i1", [first, first]) == (first,)
    assert store.count("i1", [first, second]) == (second,)
    assert store.count("i1", [second, first]) == ()
    assert store.findings("i1", 10) == (second, first) and store.findings("i1", 1) == (second,)
    assert store.count("i2", [first]) == (first,)


def test_revisions_come_newest_first_and_are_replaced_by_uid(database: Database) -> None:
    store = SqlRevisionStore(database)
    one = RevisionRecord(workload=WEB, name="web-a", uid="r1", hash="a", number=1, images=(("web", "web@sha256:00"),), first_seen=1.0)
    two = replace(one, uid="r2", number=2)
    store.save(one)
    store.save(two)
    store.save(replace(one, intact_since=1.0, intact_until=700.0))
    assert store.of(WEB) == (two, replace(one, intact_since=1.0, intact_until=700.0))
    assert store.of(replace(WEB, name="other")) == ()


def test_a_decision_is_claimed_once_whoever_asks(database: Database) -> None:
    store = SqlRemediationStore(database)
    claims: list[bool] = []
    threads = [threading.Thread(target=lambda: claims.append(store.claim(make_outcome()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == [False] * 7 + [True]


def test_actions_are_found_again_after_a_restart(database: Database) -> None:
    store = SqlRemediationStore(database)
    for name, at in (("d1", 1.0), ("d2", 2.0), ("d3", 3.0)):
        store.claim(make_outcome(name, at=at))
    store.save(make_outcome("d1", Phase.VERIFIED, at=1.0))
    store.save(make_outcome("d3", Phase.REFUSED, at=3.0))
    assert [o.decision.name for o in store.unfinished()] == ["d2"]
    assert [o.decision.name for o in store.since(1.0)] == ["d1", "d2"]
    assert [o.phase for o in store.of("i1")] == [Phase.VERIFIED, Phase.PROPOSED, Phase.REFUSED]
    assert store.get("d1") == make_outcome("d1", Phase.VERIFIED) and store.get("nope") is None
    with pytest.raises(InputError, match="never claimed"):
        store.save(make_outcome("d9"))


def test_a_report_is_taken_in_once_and_no_node_can_use_up_anothers_ids(database: Database) -> None:
    store = SqlReportStore(database)
    assert store.receive("r1", "n1", 1.0) and not store.receive("r1", "n1", 2.0)
    assert store.receive("r1", "n2", 1.0)
    assert store.forget_before(1.5) == 2 and store.receive("r1", "n1", 3.0)


def test_coverage_is_the_last_that_each_node_said(database: Database) -> None:
    store = SqlReportStore(database)
    covered = Coverage(container=CONTAINER, verdict="Intact", baseline_root=None, grade="Verified", verified_at=1.0, layers_verified_at=0.0)
    store.save_coverage("n2", 1.0, (), "C")
    store.save_coverage("n1", 1.0, (), "A")
    store.save_coverage("n1", 2.0, (covered,), "A")
    assert store.coverage() == (("n1", 2.0, "A", (covered,)), ("n2", 1.0, "C", ()))


def test_what_several_stores_write_in_one_transaction_is_kept_together_or_not_at_all(database: Database) -> None:
    reports, incidents = SqlReportStore(database), SqlIncidentStore(database)
    log = AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=1.0)
    with pytest.raises(RuntimeError), database.transaction():
        reports.receive("r1", "n1", 1.0)
        incidents.save(make_incident())
        log.append([Leaf(kind="KeyEvent", at=1.0, body={"text": "rolled back"})])
        raise RuntimeError
    assert reports.receive("r1", "n1", 1.0) and incidents.get("i1") is None and log.size == 1
    log.append([Leaf(kind="KeyEvent", at=1.0, body={"text": "kept"})])
    lines = list(export_log(SqlLeafStore(database))[1])
    assert verify_export(lines, [KEY]).checkpoint.size == 2 and b"rolled back" not in b"".join(lines)


def test_an_inner_step_that_failed_leaves_nothing_in_the_outer_transaction(database: Database) -> None:
    store = SqlReportStore(database)
    with database.transaction():
        store.receive("r1", "n1", 1.0)
        with pytest.raises(RuntimeError), database.transaction():
            store.receive("r2", "n1", 1.0)
            raise RuntimeError
    assert not store.receive("r1", "n1", 1.0) and store.receive("r2", "n1", 1.0)


def test_several_threads_append_to_one_log_and_it_verifies(database: Database) -> None:
    log = AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=1.0)

    def write(thread: int) -> None:
        for number in range(10):
            with database.transaction():
                log.append([Leaf(kind="KeyEvent", at=1.0, body={"thread": thread, "number": number})])

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify_export(export_log(SqlLeafStore(database))[1], [KEY]).checkpoint.size == 41


def test_two_processes_that_write_one_log_continue_each_other(database: Database, open_again: Opener) -> None:
    mine = AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=1.0)
    theirs = AuditLog(SqlLeafStore(open_again()), key=KEY, signer=PRIVATE, now=1.0)
    for log in (mine, theirs, mine, theirs, theirs, mine):
        log.append([Leaf(kind="KeyEvent", at=1.0)])
    assert verify_export(export_log(SqlLeafStore(database))[1], [KEY]).checkpoint.size == 7


def test_a_new_key_continues_the_log_and_says_so(database: Database) -> None:
    store = SqlLeafStore(database)
    AuditLog(store, key=KEY, signer=PRIVATE, now=1.0)
    signer = Ed25519PrivateKey.from_private_bytes(bytes([2] * 32))
    key = NoteKey(name=KEY.name, public=signer.public_key().public_bytes_raw())
    AuditLog(store, key=key, signer=signer, now=2.0, retired=[KEY])
    assert [leaf.body["verb"] for _, leaf in find_leaves(store, Query())] == ["LogBegun", "KeyRotated"]
    assert len(verify_export(export_log(store)[1], [KEY, key]).keys) == 2


QUERIES = [
    Query(),
    Query(since=2.0),
    Query(until=2.0),
    Query(kinds=frozenset({"Finding", "Outcome"})),
    Query(workload="shop/web"),
    Query(workload="Deployment shop/web"),
    Query(workload="web"),
    Query(incident="i2"),
    Query(since=1.0, until=3.0, kinds=frozenset({"Finding"}), workload="shop/web", incident="i1"),
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_the_store_finds_what_a_reader_would(database: Database, query: Query) -> None:
    store = SqlLeafStore(database)
    log = AuditLog(store, key=KEY, signer=PRIVATE, now=0.0)
    leaves = [
        Leaf(kind=kind, at=at, workload=workload, incident=incident)
        for kind in ("Finding", "Outcome", "Gap")
        for at in (1.0, 2.0, 3.0)
        for workload in ("", "Deployment shop/web", "StatefulSet shop/web", "Deployment shop/db")
        for incident in ("", "i1", "i2")
    ]
    log.append(leaves)
    found = [(index, leaf) for index, leaf in find_leaves(store, query) if index > 0]
    assert found == [(index, leaf) for index, leaf in enumerate(leaves, 1) if matches(query, leaf)]
