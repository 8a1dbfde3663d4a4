"""What the node says while it finds out where added code comes from, and afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from intact.adapters.linux.tree import HostTree
from intact.model.container import Running
from intact.model.derivation import Derivation, Proof
from intact.model.digest import Digest
from intact.model.entry import Entry
from intact.model.finding import State, Verdict
from intact.model.layer import Baseline
from intact.model.seam import Report
from intact.observe.derive import Deriver
from intact.run.node.flow import NodeFlow
from intact.run.node.origins import BATCH, Origins, choose_batch
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.seam_contract import wait_until
from tests.unit.trees import file, image

IMAGE = image(file(b"/srv/app/shop.py", b"py"), *(file(b"/srv/app/m%d.py" % number, b"py") for number in range(250)))
CACHE = file(b"/srv/app/__pycache__/shop.cpython-311.pyc", b"pyc")
SHELL = file(b"/etc/cron.d/x", b"* *")


class Slow(Deriver):
    """A deriver that answers when it is let."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(lambda directory: HostTree(directory), Silent())
        self.answer = Derivation(proof=proof)
        self.may_answer = threading.Event()
        self.asked = 0

    def establish(self, running: Running, baseline: Baseline, entries: Sequence[Entry]) -> dict[bytes, Derivation]:
        self.asked += 1
        self.may_answer.wait(60)
        return self.remember(baseline, dict.fromkeys(entries, self.answer))


class Silent:
    """Implements `observe.ports.Workshop`."""

    def recompile(self, pairs: Iterable[tuple[bytes, bytes, str, int, int]]) -> Iterator[Derivation]:
        return iter(())

    def search(self, descriptor: int, wanted: Sequence[tuple[int, Digest]], algorithm: str) -> None:
        return None

    def close(self) -> None: ...


@dataclass
class Node:
    deriver: Slow
    eyes: Eyes = field(default_factory=Eyes)
    runs: bool = True
    reports: list[Report] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.origins = Origins(self.deriver)
        self.flow = NodeFlow(
            node="node-1",
            list_running=lambda: [WEB] if self.runs else [],
            runtime_changed=lambda: True,
            doorbell=Bell(),
            eyes=self.eyes,
            baselines=Shelf(IMAGE),
            send=self.reports.append,
            clock=lambda: self.now,
            steady=lambda: self.now,
            origins=self.origins,
        )

    def step(self) -> None:
        self.now += 1.0
        self.flow.step()

    def step_until(self, holds: Callable[[], bool]) -> None:
        def turned() -> bool:
            self.step()
            return holds()

        wait_until(turned, 60)

    def verdicts(self) -> list[Verdict]:
        return [one for report in self.reports for one in report.verdicts if one.scope.value == "drift"]


@pytest.fixture
def make() -> Iterator[Callable[[Proof], Node]]:
    made: list[Node] = []

    def build(proof: Proof) -> Node:
        made.append(Node(Slow(proof)))
        return made[-1]

    yield build
    for node in made:
        node.deriver.may_answer.set()
        node.origins.close()


def test_nobody_is_told_that_a_container_is_intact_before_it_is_known(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.DERIVED)
    node.eyes.present = (CACHE,)
    node.step_until(lambda: node.deriver.asked == 1)
    for _ in range(100):
        node.step()
    assert node.verdicts() == []
    assert node.deriver.asked == 1, "one batch at a time"
    node.deriver.may_answer.set()
    node.step_until(lambda: bool(node.verdicts()))
    (verdict,) = node.verdicts()
    assert verdict.state is State.INTACT
    assert [(a.rule, a.count) for a in verdict.aggregates] == [("derived-from-image", 1)]


def test_what_needs_no_answer_is_told_at_once(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.FORGED)
    node.eyes.present = (CACHE, SHELL)
    node.step_until(lambda: bool(node.verdicts()))
    assert [finding.rule for finding in node.verdicts()[0].findings] == ["control-file-added"]
    node.deriver.may_answer.set()
    node.step_until(lambda: len(node.verdicts()) == 2)
    assert {finding.rule for finding in node.verdicts()[1].findings} == {"control-file-added", "bytecode-forged"}


def test_what_a_container_left_behind_is_judged_when_it_is_known(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.FORGED)
    node.eyes.present = (CACHE,)
    node.step_until(lambda: node.deriver.asked == 1)
    node.runs = False
    for _ in range(50):
        node.step()
    node.deriver.may_answer.set()
    node.step_until(lambda: bool(node.verdicts()))
    assert [finding.rule for finding in node.verdicts()[-1].findings] == ["bytecode-forged"]


def test_a_finding_is_not_called_gone_while_its_file_is_looked_into_again(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.FORGED)
    node.eyes.present = (CACHE,)
    node.deriver.may_answer.set()
    node.step_until(lambda: bool(node.verdicts()))
    node.deriver.may_answer.clear()
    node.eyes.present = (file(CACHE.path, b"another"), SHELL)
    node.step_until(lambda: len(node.verdicts()) == 2)
    assert {finding.rule for finding in node.verdicts()[1].findings} == {"control-file-added", "bytecode-forged"}


def test_many_files_are_looked_into_in_turns_and_told_once(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.DERIVED)
    node.eyes.present = tuple(file(b"/srv/app/__pycache__/m%d.cpython-311.pyc" % n) for n in range(250))
    node.deriver.may_answer.set()
    node.step_until(lambda: bool(node.verdicts()))
    (verdict,) = node.verdicts()
    assert (verdict.state, verdict.aggregates[0].count) == (State.INTACT, 250)
    assert node.deriver.asked == 3


def test_what_a_container_left_behind_is_looked_into_to_the_end(make: Callable[[Proof], Node]) -> None:
    node = make(Proof.FORGED)
    node.eyes.present = tuple(file(b"/srv/app/__pycache__/m%d.cpython-311.pyc" % n) for n in range(150))
    node.step_until(lambda: node.deriver.asked == 1)
    node.runs = False
    for _ in range(20):
        node.step()
    node.deriver.may_answer.set()
    node.step_until(lambda: bool(node.verdicts()))
    assert len(node.verdicts()[-1].findings) == 150


def test_no_crowd_of_bytecode_keeps_other_code_waiting() -> None:
    crowd = [file(b"/a/__pycache__/m%d.cpython-311.pyc" % number) for number in range(500)]
    shell = file(b"/srv/shop/shell.jsp")
    assert shell in choose_batch([*crowd, shell])
    assert len(choose_batch([*crowd, shell])) == BATCH
