"""A container that changes faster than can be followed is named, looked at by the clock beside the others, and followed again when it is
quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from intact.model.container import Mounted, Running
from intact.model.layer import Baseline
from intact.model.observation import Observation
from intact.model.seam import Coverage, Report
from intact.observe.ports import Rings
from intact.observe.watcher import FLOOD_LOOK_S
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.trees import CONTAINER, seen

LOUD = Running(container=replace(CONTAINER, id="loud", name="loud"), init_pid=2, mounted=Mounted(upper=b"/loud", lowers=(b"/l",), device=2))


class ScriptedBell(Bell):
    rings = Rings()

    def wait(self, timeout_s: float) -> Rings:
        rings, self.rings = self.rings, Rings(floods=self.rings.floods)
        return rings


class WatchedEyes(Eyes):
    """Notes which container was looked at where, and can be held up at one."""

    def __init__(self) -> None:
        self.looks: list[tuple[str, frozenset[bytes] | None]] = []
        self.held_up = ""
        self.go_on = threading.Event()

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: object = ()) -> Observation | None:
        self.looks.append((running.container.id, paths))
        if running.container.id == self.held_up:
            assert self.go_on.wait(60)
        return replace(seen(), container=running.container)


@dataclass
class Node:
    bell: ScriptedBell = field(default_factory=ScriptedBell)
    eyes: WatchedEyes = field(default_factory=WatchedEyes)
    reports: list[Report] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.flow = NodeFlow(
            node="node-1",
            list_running=lambda: [WEB, LOUD],
            runtime_changed=lambda: False,
            doorbell=self.bell,
            eyes=self.eyes,
            baselines=Shelf(),
            send=self.reports.append,
            clock=lambda: self.now,
            steady=lambda: self.now,
        )

    def step_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline
            self.flow.step()
            time.sleep(0.001)

    def said(self, id: str) -> Coverage | None:
        told = [covered for report in self.reports for covered in report.coverage or () if covered.container.id == id]
        return told[-1] if told else None

    def is_seen(self, id: str) -> bool:
        said = self.said(id)
        return said is not None and said.verified_at > 0


def test_it_is_named_in_the_status_and_told_once_and_the_others_are_not_kept_waiting() -> None:
    node = Node()
    node.step_until(lambda: node.is_seen("loud") and node.is_seen(CONTAINER.id))
    node.bell.rings = Rings(dirty={b"/loud": None}, floods=frozenset({b"/loud"}))
    node.flow.step()
    node.flow.step()
    said, other = node.said("loud"), node.said(CONTAINER.id)
    assert said is not None and said.reason.startswith("EventFlood")
    assert other is not None and "EventFlood" not in other.reason
    (gap,) = [gap for report in node.reports for gap in report.gaps]
    assert gap.reason.startswith("EventFlood") and "loud" in gap.reason
    node.eyes.looks.clear()
    node.eyes.held_up, node.now = "loud", node.now + FLOOD_LOOK_S
    node.step_until(lambda: ("loud", None) in node.eyes.looks)
    node.bell.rings = Rings(dirty={b"/loud": None, b"/upper": frozenset({b"/etc/conf"})}, floods=frozenset({b"/loud"}))
    node.step_until(lambda: (CONTAINER.id, frozenset({b"/etc/conf"})) in node.eyes.looks)
    node.eyes.go_on.set()
    node.bell.rings = Rings(dirty={b"/loud": None})
    node.eyes.looks.clear()
    node.step_until(lambda: ("loud", None) in node.eyes.looks)
    said = node.said("loud")
    assert said is not None and "EventFlood" not in said.reason, "it is over"


def test_a_look_at_many_paths_does_not_hold_up_the_others() -> None:
    node = Node()
    node.step_until(lambda: node.is_seen("loud") and node.is_seen(CONTAINER.id))
    node.eyes.looks.clear()
    node.eyes.held_up = "loud"
    many = frozenset(b"/%d" % number for number in range(1000))
    node.bell.rings = Rings(dirty={b"/loud": many})
    node.step_until(lambda: ("loud", many) in node.eyes.looks)
    node.bell.rings = Rings(dirty={b"/upper": frozenset({b"/etc/conf"}), b"/loud": frozenset({b"/later"})})
    node.step_until(lambda: (CONTAINER.id, frozenset({b"/etc/conf"})) in node.eyes.looks)
    assert ("loud", frozenset({b"/later"})) not in node.eyes.looks
    node.eyes.go_on.set()

    def is_looked_at() -> bool:
        node.now += 0.001  # they gather for a moment
        return ("loud", frozenset({b"/later"})) in node.eyes.looks

    node.step_until(is_looked_at)
