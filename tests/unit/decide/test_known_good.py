"""How a revision comes to be known as good, and how it ceases to be."""

from __future__ import annotations

from dataclasses import replace

from intact.decide.known_good import note_look
from intact.model.finding import State
from intact.model.incident import Workload
from intact.model.revision import RevisionRecord

NEW = RevisionRecord(
    workload=Workload(kind="Deployment", namespace="shop", name="web", uid="d1"),
    name="web-1",
    uid="r1",
    hash="abc",
    number=1,
    images=(("web", "repo@sha256:" + "0" * 64),),
    first_seen=0.0,
)


def look(record: RevisionRecord, *looks: tuple[float, State]) -> RevisionRecord:
    for at, state in looks:
        record = note_look(record, state, clean=state is State.INTACT, at=at)
    return record


def test_a_revision_soaks_while_every_look_is_clean() -> None:
    assert not look(NEW, (10, State.INTACT)).soaked(5)
    assert look(NEW, (10, State.INTACT), (15, State.INTACT)).soaked(5)
    assert not look(NEW, (10, State.INTACT), (14, State.INTACT)).soaked(5)


def test_a_revision_that_was_never_seen_intact_is_not_good_whatever_the_soak_time() -> None:
    assert not NEW.soaked(0)


def test_drift_undoes_what_was_soaked() -> None:
    assert not look(NEW, (10, State.INTACT), (20, State.INTACT), (21, State.DRIFTED)).soaked(5)


def test_a_look_that_could_not_look_ends_the_time_and_keeps_what_was_proven() -> None:
    proven = look(NEW, (10, State.INTACT), (20, State.INTACT), (21, State.UNOBSERVED))
    assert proven.soaked(5)
    assert not proven.soaked(11)
    blind_between = look(NEW, (10, State.INTACT), (12, State.UNOBSERVED), (16, State.INTACT))
    assert not blind_between.soaked(5), "nobody looked between 12 and 16"


def test_old_looks_that_come_late_change_nothing() -> None:
    drifted = look(NEW, (10, State.INTACT), (20, State.DRIFTED))
    assert note_look(drifted, State.INTACT, clean=True, at=15) == drifted


def test_a_difference_that_the_policy_expects_is_no_break() -> None:
    record = note_look(note_look(NEW, State.DRIFTED, clean=True, at=10), State.DRIFTED, clean=True, at=20)
    assert record.soaked(10)
    assert replace(record, drifted_at=None) == record
