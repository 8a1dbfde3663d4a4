"""Code that never is what it was when it was asked where it comes from: each answer is about a content that is gone. It is told all the
same, and what services unpack or compile once waits for its answer as before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from intact.model.container import Running
from intact.model.derivation import Derivation, Proof
from intact.model.entry import Entry
from intact.model.finding import Level, State
from intact.model.layer import Baseline
from intact.model.observation import Observation
from intact.run.node.origins import MOST_LOST, Origins
from tests.unit.run.node.fakes import Eyes
from tests.unit.run.node.test_origins import CACHE, Node, Slow
from tests.unit.trees import file

pytestmark = pytest.mark.timeout(120)
Write = Callable[[int], Entry]


class Asked(Slow):
    """Of each file it must be asked: it has the size of a member of one of the image's archives."""

    def __init__(self) -> None:
        super().__init__(Proof.UNKNOWN)
        self.may_answer.set()

    def _tell_at_once(self, root: bytes, entry: Entry) -> Derivation | None:
        return None


@dataclass
class Restless(Eyes):
    """Each look but the last ones sees something else."""

    write: Write = lambda number: CACHE
    looks: int = 0
    most: int = 10_000

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: object = ()) -> Observation | None:
        self.looks = min(self.looks + 1, self.most)
        self.present = (self.write(self.looks),)
        return super().look(running, baseline, paths, levels)


@pytest.fixture
def make() -> Iterator[Callable[[Restless], Node]]:
    made: list[Node] = []

    def build(eyes: Restless) -> Node:
        made.append(Node(Asked(), eyes))
        return made[-1]

    yield build
    for node in made:
        node.origins.close()


@pytest.mark.parametrize(
    ("write", "rule", "level"),
    [
        (lambda number: file(b"/srv/app/shell.py", b"%d" % number), "code-added", Level.HIGH),
        (lambda number: file(b"/srv/app/shell%d.py" % number, b"evil"), "code-added", Level.HIGH),
        (lambda number: file(CACHE.path, b"%d" % number), "bytecode-cache-added", Level.LOW),
    ],
    ids=["another content", "another name", "bytecode"],
)
def test_code_that_is_another_whenever_it_was_looked_into_is_told(
    make: Callable[[Restless], Node], write: Write, rule: str, level: Level
) -> None:
    node = make(Restless(write=write))
    for _ in range(20 * MOST_LOST):
        node.step()
        if node.verdicts():
            break
        node.origins._worker.submit(lambda: None).result()  # what it was asked is answered by the next turn
    assert [(one.rule, one.level) for one in node.verdicts()[0].findings] == [(rule, level)]


def test_a_few_files_that_are_another_when_the_answer_comes_change_nothing(make: Callable[[Restless], Node]) -> None:
    node = make(Restless(write=lambda number: file(CACHE.path, b"%d" % number), most=MOST_LOST))
    node.deriver.answer = Derivation(proof=Proof.DERIVED)
    node.step_until(lambda: bool(node.verdicts()))
    assert [one.state for one in node.verdicts()] == [State.INTACT]


def test_code_that_is_added_file_after_file_where_looks_take_long_keeps_the_others_not_waiting(make: Callable[[Restless], Node]) -> None:
    """Each answer asks for another look at everything: it is made beside the flow, as any that takes long."""
    threads: list[str] = []

    def write(number: int) -> Entry:
        threads.append(threading.current_thread().name)
        node.now += 1.0  # so long takes a look
        return file(b"/srv/app/m%d.py" % (1000 + number), b"x")

    node = make(Restless(write=write, most=5))
    node.step_until(lambda: node.deriver.asked >= 3)
    assert len(threads) > 2 and set(threads[1:]) == {"long-look_0"}


def test_what_was_lost_long_ago_counts_no_more() -> None:
    now = 0.0
    origins = Origins(Asked(), lambda: now)
    for _ in range(3 * MOST_LOST):
        now += 300.0
        origins._asked["c1"] = (CACHE,)
        origins._note_lost("c1", (), None)
        assert len(origins._lost["c1"]) < MOST_LOST
    origins.forget("c1")
    origins.close()
