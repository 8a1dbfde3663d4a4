"""Waiting commands: handed to their node until settled or expired."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from intact.model.errors import TemporaryError
from intact.run.cluster.commands import MAX_PER_NODE, REDELIVER_S, CommandBox
from tests.unit.seam_contract import make_command


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def ids(box: CommandBox, node: str = "a") -> list[str]:
    return [c.id for c in box.take(node, 0)]


def test_a_command_comes_again_until_it_is_settled() -> None:
    clock = Clock()
    box = CommandBox(clock)
    box.put(make_command("c1", "a", clock.now + 100))
    assert ids(box) == ["c1"]
    assert ids(box) == []
    clock.now += REDELIVER_S
    assert ids(box) == ["c1"]
    box.settle("a", "c1")
    clock.now += REDELIVER_S
    assert ids(box) == []


def test_a_node_settles_only_its_own_commands() -> None:
    clock = Clock()
    box = CommandBox(clock)
    box.put(make_command("c1", "a", clock.now + 100))
    box.settle("b", "c1")
    assert ids(box) == ["c1"]


def test_an_expired_command_is_gone() -> None:
    clock = Clock()
    box = CommandBox(clock)
    box.put(make_command("c1", "a", clock.now + 5))
    clock.now += 5
    assert ids(box) == []


def test_a_node_that_carries_nothing_out_does_not_fill_the_memory() -> None:
    clock = Clock()
    box = CommandBox(clock)
    for n in range(MAX_PER_NODE):
        box.put(make_command(f"c{n}", "a", clock.now + 5))
    with pytest.raises(TemporaryError):
        box.put(make_command("one more", "a", clock.now + 5))
    clock.now += 6
    box.put(make_command("one more", "a", clock.now + 5))
    assert ids(box) == ["one more"]


def test_waiting_ends_as_soon_as_there_is_a_command_and_listeners_hear_of_it() -> None:
    box = CommandBox(time.time)
    heard: list[str] = []
    box.when_put(heard.append)
    threading.Timer(0.2, lambda: box.put(make_command("c1", "a", time.time() + 60))).start()
    began = time.monotonic()
    assert [c.id for c in box.take("a", 5.0)] == ["c1"]
    assert time.monotonic() - began < 2.0
    assert heard == ["a"]
