"""Nothing told is lost, nothing is told twice, a storm becomes a number. In virtual time, on the real outbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intact.adapters.store.database import Database
from intact.adapters.store.outbox import SqlOutbox
from intact.model.alert import Alert, AlertKind
from intact.model.errors import IntactError, PermanentError, TemporaryError
from intact.model.finding import Level
from intact.notify.router import Delivery, Router


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ListSink:
    """A place that takes alerts, or raises what it is told to."""

    name: str = "list"
    taken: list[Alert] = field(default_factory=list)
    error: IntactError | None = None

    def send(self, alert: Alert) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(alert)

    @property
    def ids(self) -> list[str]:
        return [alert.id for alert in self.taken]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqlOutbox]:
    database = Database.in_directory(tmp_path)
    yield SqlOutbox(database)
    database.close()


def make_alert(id: str, incident: str = "i1", kind: AlertKind = AlertKind.OPENED, level: Level = Level.HIGH) -> Alert:
    return Alert(id=id, kind=kind, at=1.0, level=level, summary=id, incident_id=incident)


def make_router(outbox: SqlOutbox, clock: Clock, *sinks: ListSink, **delivery: float) -> Router:
    return Router(outbox, sinks, clock=clock, delivery=Delivery(**delivery), chance=lambda: 1.0)  # type: ignore[arg-type]


def test_an_alert_reaches_every_sink_once(outbox: SqlOutbox) -> None:
    first, second = ListSink("first"), ListSink("second")
    router = make_router(outbox, Clock(), first, second)
    for _ in range(3):
        router.submit(make_alert("a"))
    assert router.deliver_due("first") is router.deliver_due("second") is router.deliver_due("first") is None
    assert first.ids == second.ids == ["a"]


def test_what_was_not_delivered_when_the_process_ended_is_delivered_by_the_next(outbox: SqlOutbox) -> None:
    clock, sink = Clock(), ListSink(error=TemporaryError("down"))
    router = make_router(outbox, clock, sink)
    router.submit(make_alert("a"))
    assert router.deliver_due("list") == clock.now + 1
    sink.error = None
    clock.now += 2
    make_router(outbox, clock, sink).deliver_due("list")
    assert sink.ids == ["a"]


def test_a_sink_that_is_down_is_tried_ever_more_rarely_and_then_given_up(outbox: SqlOutbox) -> None:
    clock, sink = Clock(), ListSink(error=TemporaryError("down"))
    router = make_router(outbox, clock, sink, cap_s=60.0, give_up_s=300.0)
    router.submit(make_alert("a"))
    waits = []
    while (again := router.deliver_due("list")) is not None:
        waits.append(again - clock.now)
        clock.now = again
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert router.counts()["list"].dead == 1


def test_an_alert_that_is_refused_for_good_is_buried_and_does_not_hold_up_the_next(outbox: SqlOutbox) -> None:
    sink = ListSink(error=PermanentError("no"))
    router = make_router(outbox, Clock(), sink)
    router.submit(make_alert("a"))
    router.deliver_due("list")
    sink.error = None
    router.submit(make_alert("b"))
    router.deliver_due("list")
    counts = router.counts()["list"]
    assert sink.ids == ["b"] and (counts.dead, counts.sent, counts.pending) == (1, 1, 0)


def test_the_order_within_an_incident_holds_while_others_go_on(outbox: SqlOutbox) -> None:
    clock, sink = Clock(), ListSink(error=TemporaryError("down"))
    router = make_router(outbox, clock, sink)
    router.submit(make_alert("a1", "a"))
    router.deliver_due("list")
    sink.error = None
    for id, incident in (("a2", "a"), ("b1", "b")):
        router.submit(make_alert(id, incident))
    assert router.deliver_due("list") == clock.now + 1
    assert sink.ids == ["b1"]
    clock.now += 1
    router.deliver_due("list")
    assert sink.ids == ["b1", "a1", "a2"]


def test_a_storm_becomes_a_number_and_actions_are_never_suppressed(outbox: SqlOutbox) -> None:
    clock, sink = Clock(), ListSink()
    router = make_router(outbox, clock, sink, burst=3, per_minute=6.0)
    for n in range(10):
        router.submit(make_alert(f"s{n}", f"i{n}", level=Level.CRITICAL if n == 7 else Level.LOW))
    router.submit(make_alert("action", "i9", AlertKind.ACTION))
    wake = router.deliver_due("list")
    assert sink.ids == ["s0", "s1", "s2", "action"] and router.counts()["list"].suppressed == 7
    assert wake == clock.now + 10
    clock.now = wake
    assert router.deliver_due("list") is None
    summary = sink.taken[-1]
    assert summary.kind is AlertKind.SUPPRESSED and summary.suppressed == 7 and summary.level is Level.CRITICAL
    clock.now += 1000
    router.deliver_due("list")
    assert len(sink.taken) == 5 and router.counts()["list"].suppressed == 7


def test_one_sinks_trouble_is_not_anothers(outbox: SqlOutbox) -> None:
    down, up = ListSink("down", error=TemporaryError("down")), ListSink("up")
    router = make_router(outbox, Clock(), down, up)
    router.submit(make_alert("a"))
    router.deliver_due("down")
    router.deliver_due("up")
    assert up.ids == ["a"] and router.counts()["down"].pending == 1


def test_what_was_delivered_long_ago_is_forgotten_and_what_is_pending_is_not(outbox: SqlOutbox) -> None:
    clock, sink = Clock(), ListSink()
    router = make_router(outbox, clock, sink)
    router.submit(make_alert("a"))
    router.deliver_due("list")
    sink.error = TemporaryError("down")
    router.submit(make_alert("b"))
    router.deliver_due("list")
    assert outbox.forget_before(clock.now + 1) == 1 and router.counts()["list"].pending == 1


def test_two_sinks_of_one_name_are_refused(outbox: SqlOutbox) -> None:
    with pytest.raises(ValueError, match="one name"):
        make_router(outbox, Clock(), ListSink(), ListSink())
