"""A node whose baselines are doubted because a key was revoked: nothing counts until each was obtained again, and that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from intact.model.container import Mounted, Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.errors import TemporaryError
from intact.model.finding import Finding
from intact.model.layer import Baseline, Record
from intact.model.observation import Observation, Unobserved
from intact.model.seam import Coverage, Report
from intact.observe.ports import Rings, Tier, View
from intact.run.node.flow import NodeFlow
from tests.unit.seam_contract import wait_until
from tests.unit.trees import CONTAINER, file, image, seen

BEFORE, AFTER = image(file(b"/app", b"as somebody wants it")), image(file(b"/app", b"as it is"))
WEB = Running(container=CONTAINER, init_pid=1, mounted=Mounted(upper=b"/upper", lowers=(b"/lower",), device=1))


class Bell:
    """Implements `observe.ports.Doorbell`; never rings."""

    def start(self) -> Tier:
        return Tier(name="C", reason="of a test")

    def watch(self, directories: Iterable[bytes], view: View | None = None) -> Mapping[bytes, str]:
        return {}

    def forget(self, directories: Iterable[bytes]) -> None: ...

    def wait(self, timeout_s: float) -> Rings:
        return Rings()

    def close(self) -> None: ...


class Eyes:
    """Implements `run.node.ports.Eyes`: a container that is what its baseline says."""

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None) -> Observation | None:
        return seen()

    def can_look(self, running: Running) -> bool:
        return True

    def date(
        self, running: Running, baseline: Baseline, findings: tuple[Finding, ...], known: Mapping[str, Finding]
    ) -> tuple[Finding, ...]:
        return findings

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
    ) -> Iterator[Record | Unobserved]:
        return iter(())


@dataclass
class Shelf:
    """Implements `run.node.ports.Baselines`."""

    baseline: Baseline | None = BEFORE

    def obtain(self, running: Running) -> Baseline:
        if self.baseline is None:
            raise TemporaryError("the controller has none yet")
        return self.baseline

    def withdraw(self, roots: frozenset[Digest]) -> None: ...

    def is_withdrawn(self, baseline: Baseline) -> bool:
        return False


@dataclass
class Node:
    shelf: Shelf = field(default_factory=Shelf)
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
    node = Node(shelf=Shelf(baseline=None))
    node.step_until(lambda one: "no baseline" in one.reason)
    node.revoked, node.shelf.baseline = frozenset({"sha256:stolen"}), AFTER
    assert node.step_until(lambda one: one.baseline_root is not None).baseline_root == AFTER.root
