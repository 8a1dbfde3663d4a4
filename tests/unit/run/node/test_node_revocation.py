"""A node whose baselines are doubted because a key was revoked: nothing counts until each was obtained again, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from intact.model.seam import Coverage, Report
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.seam_contract import wait_until
from tests.unit.trees import file, image

BEFORE, AFTER = image(file(b"/app", b"as somebody wants it")), image(file(b"/app", b"as it is"))


@dataclass
class Node:
    shelf: Shelf = field(default_factory=lambda: Shelf(BEFORE))
    revoked: frozenset[str] = frozenset()
    reports: list[Report] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.flow = NodeFlow(
            node="node-1",
            list_running=lambda: [WEB],
            runtime_changed=lambda: False,
            doorbell=Bell(),
            eyes=Eyes(),
            baselines=self.shelf,
            send=self.reports.append,
            clock=lambda: self.now,
            steady=lambda: self.now,
            revoked=lambda: self.revoked,
        )

    def step_until(self, holds: Callable[[Coverage], bool]) -> Coverage:
        """Turns of the flow until its last word on the container is as wanted."""
        found: list[Coverage] = []

        def is_said() -> bool:
            self.now += 1.0
            self.flow.step()
            found[:] = [one for report in self.reports for one in report.coverage or ()][-1:]
            return bool(found) and holds(found[0])

        wait_until(is_said, 60)
        return found[0]


def test_after_a_revocation_nothing_counts_until_the_baseline_was_obtained_again() -> None:
    node = Node()
    assert node.step_until(lambda one: one.verdict != "Pending").baseline_root == BEFORE.root
    node.shelf.baseline, node.revoked = None, frozenset({"sha256:stolen"})
    doubted = node.step_until(lambda one: one.baseline_root is None)
    assert doubted.verdict in ("Pending", "Unobserved")
    assert "revoked" in doubted.reason or "no baseline" in doubted.reason
    node.shelf.baseline = AFTER
    assert node.step_until(lambda one: one.baseline_root == AFTER.root).verdict != "Unobserved"


def test_a_baseline_that_was_on_its_way_when_the_key_was_revoked_is_asked_for_again() -> None:
    node = Node(shelf=Shelf(None))
    node.step_until(lambda one: "no baseline" in one.reason)
    node.revoked, node.shelf.baseline = frozenset({"sha256:stolen"}), AFTER
    assert node.step_until(lambda one: one.baseline_root is not None).baseline_root == AFTER.root
