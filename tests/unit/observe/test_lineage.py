"""A pid names somebody only where nobody else can have had it."""

from __future__ import annotations

import pytest

from intact.observe import lineage
from intact.observe.lineage import Lineage

SHIM, SHELL = 10, 20


@pytest.fixture
def lives() -> Lineage:
    """A shell that was there before, and what the kernel tells from 1000 on."""
    book = Lineage(1000)
    book.seed(SHIM, 1, 100, b"/usr/bin/shim")
    book.seed(SHELL, SHIM, 200, b"/bin/sh")
    book.link()
    return book


def test_a_child_runs_its_parents_program_until_it_executes_another(lives: Lineage) -> None:
    lives.fork(30, SHELL, 2000)
    child = lives.find(30, 1900, 2100)
    assert child is not None and child.executable == b"/bin/sh"
    assert [(one.pid, one.executable) for one in child.ancestors] == [(SHELL, b"/bin/sh"), (SHIM, b"/usr/bin/shim")]
    lives.execute(30, b"cp", 2200)
    assert child.executable == b""
    lives.map(30, b"/bin/busybox")
    lives.map(30, b"/lib/ld.so")
    assert (child.executable, child.name) == (b"/bin/busybox", b"cp")


def test_who_has_exited_is_still_known(lives: Lineage) -> None:
    lives.fork(30, SHELL, 2000)
    lives.end(30, 2100)
    found = lives.find(30, 2050, 5000)
    assert found is not None and found.ended_ns == 2100
    assert lives.find(30, 2200, 5000) is None, "it had ended before"
    assert lives.find(30, 1500, 1900) is None, "it had not begun"


def test_a_thread_that_takes_its_process_s_place_is_the_same_process(lives: Lineage) -> None:
    lives.join(SHELL, 7)
    lives.fork(30, SHELL, 2000)
    lives.end(30, 2100)
    lives.execute(30, b"x", 2101)
    life, is_program = lives.map(30, b"/memfd:x")
    assert is_program and life is not None and life is lives.find_alive(30)
    assert (life.namespaces[-1], life.started_ns, life.ancestors[0].pid) == (7, 2000, SHELL)
    lives.forget(2100 + lineage.KEPT_NS + 1)
    assert lives.find_alive(30) is life, "its end is yet to come"
    lives.end(30, 3000)
    lives.forget(3000 + lineage.KEPT_NS + 1)
    assert lives.find_last(30) is None


def test_a_pid_that_two_had_in_the_time_is_nobodys(lives: Lineage) -> None:
    lives.fork(30, SHELL, 2000)
    lives.end(30, 2100)
    lives.fork(30, SHIM, 2200)
    assert lives.find(30, 2050, 2300) is None
    later = lives.find(30, 2150, 2300)
    assert later is not None and later.executable == b"/usr/bin/shim"


def test_who_began_unheard_is_not_believed_to_have_been_there_before(lives: Lineage) -> None:
    assert lives.find(SHELL, 500, 1500) is not None, "it began before, so that nobody else had its pid"
    lives.seed(40, SHIM, 900, b"/bin/young")
    assert lives.find(40, 800, 1500) is None, "somebody else may have had it until 900"


def test_after_a_loss_nothing_is_known_until_it_is_listed_again(lives: Lineage) -> None:
    lives.fork(30, SHELL, 2000)
    lives.lose(3000)
    assert lives.find(30, 2500, 3500) is None and lives.find(SHELL, 2500, 3500) is None
    lives.seed(SHELL, SHIM, 200, b"/bin/sh")
    assert lives.find(SHELL, 2500, 3500) is not None


def test_a_fork_whose_parent_nobody_knows_names_no_program(lives: Lineage) -> None:
    lives.fork(30, 999, 2000)
    found = lives.find(30, 1900, 2100)
    assert found is not None and found.executable == b"" and found.ancestors[0].pid == 999


def test_lives_that_ended_are_let_go_and_what_was_before_is_then_unknown(lives: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "MOST_ENDED", 10)
    for number in range(1000):
        lives.fork(100 + number, SHELL, 2000 + number)
        lives.end(100 + number, 2000 + number)
        lives.forget(3000)
    assert len(lives) <= 13
    assert lives.find(100, 1990, 2010) is None
    last = lives.find(1099, 2995, 3000)
    assert last is not None and last.executable == b"/bin/sh"
    lives.forget(lineage.KEPT_NS + 5000)
    assert len(lives) == 2


def test_a_line_of_descendants_without_end_takes_bounded_memory(lives: Lineage) -> None:
    lives.fork(100, SHELL, 2000)
    for number in range(101, 5000):
        lives.fork(number, number - 1, 2000 + number)
        lives.end(number - 1, 2000 + number)
    found = lives.find_alive(4999)
    assert found is not None and len(found.ancestors) == lineage.ANCESTORS
