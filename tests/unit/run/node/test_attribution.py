"""A look that comes before the doorbell was heard waits for it, so that what it finds is told with who did it, and told once."""

from __future__ import annotations

import time

import pytest

from intact.model.entry import Entry
from intact.model.finding import Finding
from intact.model.seam import Report
from intact.observe.ports import Process, Rings
from intact.run.node.flow import CATCH_UP_S, NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.trees import file

PLANTED = file(b"/etc/planted", b"by somebody")
SOMEBODY = Process(pid=7, parent_pid=1, executable=b"/bin/sh", arguments=(b"sh",), started_ticks=5, root_device=1)
HEARD = Rings(dirty={b"/upper": frozenset({PLANTED.path})}, writers={b"/upper": {PLANTED.path: SOMEBODY}})


class LateBell(Bell):
    """What it holds is heard only by whoever asks for it. `takes_s`: so long it is busy, by the clock of the test."""

    def __init__(self) -> None:
        self.held = Rings()
        self.now, self.takes_s = 1000.0, 0.0
        self.asked = 0

    def catch_up(self, timeout_s: float) -> Rings:
        self.asked += 1
        self.now += min(timeout_s, self.takes_s)
        rings, self.held = self.held, Rings()
        return rings if self.takes_s <= timeout_s else Rings()


class Node:
    def __init__(self) -> None:
        self.bell, self.eyes, self.reports = LateBell(), Eyes(), list[Report]()
        self.flow = NodeFlow(
            node="node-1",
            list_running=lambda: [WEB],
            runtime_changed=lambda: False,
            doorbell=self.bell,
            eyes=self.eyes,
            baselines=Shelf(),
            send=self.reports.append,
            clock=lambda: self.bell.now,
            steady=lambda: self.bell.now,
        )
        self.step_until_told(0)

    def step_until_told(self, count: int) -> tuple[Finding, ...]:
        deadline = time.monotonic() + 60
        while True:
            verdicts = [verdict for report in self.reports for verdict in report.verdicts]
            if verdicts and len(verdicts[-1].findings) == count:
                return verdicts[-1].findings
            assert time.monotonic() < deadline
            self.flow.step()
            time.sleep(0.001)

    def find_by_the_clock(self, *present: Entry) -> tuple[Finding, ...]:
        self.eyes.present = present
        self.bell.now += 61.0
        return self.step_until_told(len(present))


def test_what_a_timed_look_finds_before_it_rang_is_told_with_who_did_it() -> None:
    node = Node()
    assert node.bell.asked == 0, "nothing was found"
    node.bell.held = HEARD
    (finding,) = node.find_by_the_clock(PLANTED)
    assert finding.writer is not None and finding.writer.executable == b"/bin/sh"


def test_what_rang_before_it_is_looked_at_waits_for_nothing() -> None:
    node = Node()
    node.flow._doorbell = bell = LateBell()
    bell.wait = lambda timeout_s: HEARD  # type: ignore[method-assign]
    node.eyes.present = (PLANTED,)
    (finding,) = node.step_until_told(1)
    assert finding.writer is not None and bell.asked == 0


@pytest.mark.parametrize("takes_s", [CATCH_UP_S, 10.0])
def test_a_busy_doorbell_is_asked_once_and_not_for_each_look(takes_s: float) -> None:
    node = Node()
    node.bell.takes_s = takes_s
    before = node.bell.now
    node.find_by_the_clock(PLANTED)
    assert node.bell.now - before - 61.0 == pytest.approx(CATCH_UP_S)
    node.eyes.present = (PLANTED, file(b"/etc/more", b"x"))
    node.flow._doorbell = bell = Bell()
    bell.wait = lambda timeout_s: Rings(dirty={b"/upper": frozenset({b"/etc/more"})})  # type: ignore[method-assign]
    bell.catch_up = lambda timeout_s: pytest.fail("it was busy a moment ago")  # type: ignore[method-assign]
    node.step_until_told(2)
