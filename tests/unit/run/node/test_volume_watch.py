"""Volumes are searched in turn, in their own time, and by one thread that ends when it is told to."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from intact.model.container import Container, Running
from intact.model.live import VolumeLook
from intact.run.node.volume_watch import VolumeWatch

PATIENCE_S = 20.0


def _running(id: str) -> Running:
    container = Container(id=id, name=id, image="image", image_key=None, node="n1")
    return Running(container=container, init_pid=1, mounted=None, unobservable="of no interest here")


class Shelves:
    """Volumes that are searched at once, unless `fails`."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.fails = fails
        self.threads: set[str] = set()

    def look(self, running: Running, rest: Callable[[], None]) -> VolumeLook | None:
        self.threads.add(threading.current_thread().name)
        if self.fails is not None:
            raise self.fails
        rest()
        return VolumeLook(container=running.container)


def _watch(shelves: Shelves) -> tuple[VolumeWatch, queue.SimpleQueue[VolumeLook | BaseException]]:
    heard: queue.SimpleQueue[VolumeLook | BaseException] = queue.SimpleQueue()
    return VolumeWatch(shelves, heard.put, steady=time.monotonic), heard


def _hear(heard: queue.SimpleQueue[VolumeLook | BaseException]) -> str:
    look = heard.get(timeout=PATIENCE_S)
    assert isinstance(look, VolumeLook)
    return look.container.id


def test_each_is_searched_at_once_and_again_after_its_time() -> None:
    watch, heard = _watch(Shelves())
    try:
        watch.watch(_running("often"), 0.01)
        watch.watch(_running("seldom"), 3600.0)
        said = [_hear(heard) for _ in range(10)]
        assert said.count("seldom") == 1 and said.count("often") == 9
        watch.forget("often")
        while not heard.empty():
            heard.get()
        watch.watch(_running("seldom"), 0.01)
        assert "seldom" in {_hear(heard) for _ in range(3)}, "another time counts from now on"
    finally:
        watch.close()


def test_no_thread_runs_before_a_policy_asks_and_none_after_the_end() -> None:
    shelves = Shelves()
    watch, heard = _watch(shelves)
    before = threading.active_count()
    watch.close()
    assert threading.active_count() == before and not shelves.threads
    watch, heard = _watch(shelves)
    watch.watch(_running("one"), 3600.0)
    assert _hear(heard) == "one"
    watch.close()
    assert not any(thread.name == "volumes" for thread in threading.enumerate())


def test_an_error_nobody_expected_is_handed_on() -> None:
    watch, heard = _watch(Shelves(fails=ValueError("of our own making")))
    threading.excepthook, hook = lambda _: None, threading.excepthook
    try:
        watch.watch(_running("one"), 1.0)
        assert isinstance(heard.get(timeout=PATIENCE_S), ValueError)
    finally:
        watch.close()
        threading.excepthook = hook
