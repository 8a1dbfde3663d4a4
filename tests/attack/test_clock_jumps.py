"""A clock that is set, by a bad time server or by whoever wants the watch to sleep: nothing is put off or believed for too long."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.known import HOT_NS, KnownFiles, identify
from intact.model.container import Running
from intact.model.digest import SHA256, Digest
from intact.model.layer import Baseline
from intact.model.live import LiveLook, MountSeen, Place, Run, Runner
from intact.model.observation import Observation
from intact.model.seam import Report
from intact.observe.ports import Content, Rings
from intact.run.node.flow import NodeFlow
from intact.run.node.live_watch import SWEEP_S, LiveWatch
from intact.run.node.reporting import HEARTBEAT_S
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.seam_contract import wait_until
from tests.unit.trees import seen

HOUR_S = 3600.0


class RingingBell(Bell):
    def __init__(self) -> None:
        self.dirty: dict[bytes, frozenset[bytes] | None] = {}

    def wait(self, timeout_s: float) -> Rings:
        rings, self.dirty = Rings(dirty=self.dirty), {}
        return rings


class CountingEyes(Eyes):
    def __init__(self) -> None:
        self.looks: list[frozenset[bytes] | None] = []

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: object = ()) -> Observation | None:
        self.looks.append(paths)
        return seen()


class Node:
    def __init__(self) -> None:
        self.bell, self.eyes, self.reports = RingingBell(), CountingEyes(), list[Report]()
        self.wall, self.steady = 1_000_000.0, 5.0
        self.flow = NodeFlow(
            node="n1", list_running=lambda: [WEB], runtime_changed=lambda: False, doorbell=self.bell, eyes=self.eyes, baselines=Shelf(),
            send=self.reports.append, clock=lambda: self.wall, steady=lambda: self.steady,
        )  # fmt: skip
        wait_until(self._has_looked, 30)

    def _has_looked(self) -> bool:
        self.flow.step()
        return bool(self.eyes.looks)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
        self.flow.step()


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S, -30 * 365 * 24 * HOUR_S])
def test_a_jump_of_the_clock_puts_no_look_and_no_heartbeat_off(jump_s: float) -> None:
    node = Node()
    node.pass_time(1)
    node.wall += jump_s
    node.eyes.looks.clear()
    node.reports.clear()
    node.bell.dirty = {b"/upper": frozenset({b"/bin/tool"})}
    node.pass_time(1)
    assert node.eyes.looks == [frozenset({b"/bin/tool"})], "what rang is looked at"
    for _ in range(70):
        node.pass_time(1)
    assert None in node.eyes.looks, "so is everything, at its interval"
    assert 70 / HEARTBEAT_S - 1 <= sum(report.coverage is not None for report in node.reports) <= 70 / HEARTBEAT_S + 2
    assert all(abs(report.at - node.wall) < 80 for report in node.reports)


def test_a_clock_that_jumps_all_the_time_does_not_stop_the_looks() -> None:
    node = Node()
    node.eyes.looks.clear()
    for second in range(300):
        node.wall += HOUR_S * (-1) ** second
        node.pass_time(1)
    assert 4 <= node.eyes.looks.count(None) <= 6


class World:
    """Implements `observe.ports.LiveWorld`: one container that runs one program in memory, always."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._is_awake = threading.Event()

    def watch(self, running: Running) -> str:
        return ""

    def forget(self, container_id: str) -> None: ...

    def wake(self) -> None:
        self._is_awake.set()

    def wait(self, timeout_s: float) -> frozenset[str]:
        self._is_awake.wait(min(timeout_s, 0.01))
        return frozenset()

    def take_stirred(self) -> frozenset[str]:
        return frozenset()

    def take_past(self) -> Iterator[LiveLook]:
        return iter(())

    def look_at_mounts(self, container_id: str) -> tuple[MountSeen, ...] | None:
        return None

    def look(self, container_ids: frozenset[str]) -> Iterator[LiveLook]:
        worker = Run(path=b"/memfd:worker", place=Place.MEMORY, by=Runner(pid=9, started_ticks=1, executable=b"/"))
        yield LiveLook(container=WEB.container, runs=(worker,), at=self._clock())

    def close(self) -> None: ...


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_what_runs_is_looked_at_and_believed_whatever_the_clock_says(jump_s: float) -> None:
    wall, steady = 1_000_000.0, 5.0
    looks: list[LiveLook | BaseException] = []
    watch = LiveWatch(World(lambda: wall), looks.append, clock=lambda: wall, steady=lambda: steady)
    watch.start()
    try:
        watch.watch(WEB)
        wait_until(lambda: bool(looks), 30)
        wall += jump_s
        steady += SWEEP_S
        wait_until(lambda: any(isinstance(look, LiveLook) and look.runs for look in looks), 30)
    finally:
        watch.close()
    assert not isinstance(looks[0], BaseException) and not looks[0].runs, "in the first look it may be the runtime's"


def test_what_was_read_is_not_remembered_while_the_clock_is_behind(tmp_path: Path) -> None:
    """Its change time lies ahead then: nobody can tell when the file was changed last."""
    file = tmp_path / "file"
    file.write_bytes(b"x")
    identity = identify(file.stat())
    content = Content(Digest.of(b"x"))
    for jump_ns, is_kept in ((-3600 * 10**9, False), (0, False), (2 * HOT_NS, True)):
        known = KnownFiles(clock_ns=lambda jump=jump_ns: time.time_ns() + jump)  # type: ignore[misc]
        known.keep_content(identity, SHA256, content)
        assert (known.content(identity, SHA256) is not None) == is_kept, jump_ns


def test_a_file_made_again_in_the_same_inode_is_another_file(tmp_path: Path) -> None:
    known = KnownFiles(clock_ns=lambda: time.time_ns() + 2 * HOT_NS)
    file = tmp_path / "file"
    for _ in range(50):
        file.write_bytes(b"good")
        before = file.stat()
        known.keep_content(identify(before), SHA256, Content(Digest.of(b"good")))
        file.unlink()
        file.write_bytes(b"evil")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = file.stat()
        assert known.content(identify(after), SHA256) is None
        if after.st_ino == before.st_ino and after.st_mtime_ns == before.st_mtime_ns:
            return
    pytest.skip("the file system gave no inode number twice")
