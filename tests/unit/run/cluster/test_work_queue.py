"""The work queue, in virtual time."""

from __future__ import annotations

import threading

from intact.run.cluster.queue import FIRST_RETRY_S, LONGEST_RETRY_S, WorkQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Clock, WorkQueue[str]]:
    clock = Clock()
    return clock, WorkQueue(clock=clock)


def test_a_key_added_many_times_is_taken_once() -> None:
    _, queue = make()
    for _ in range(5):
        queue.add("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_a_key_is_worked_on_by_one_at_a_time_and_again_if_it_was_added_meanwhile() -> None:
    _, queue = make()
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"


def test_a_busy_key_does_not_hold_up_the_others() -> None:
    _, queue = make()
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"


def test_failures_come_back_later_and_later_until_one_succeeds() -> None:
    clock, queue = make()
    queue.add("a")
    pauses = []
    for _ in range(4):
        assert queue.take() == "a"
        pauses.append(queue.failed("a"))
        assert queue.take() is None
        clock.now += pauses[-1]
    assert pauses == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, 8 * FIRST_RETRY_S]
    assert queue.take() == "a"
    queue.done("a")
    queue.add("a")
    assert queue.take() == "a"
    assert queue.failed("a") == FIRST_RETRY_S


def test_a_pause_is_never_longer_than_the_longest() -> None:
    clock, queue = make()
    queue.add("a")
    for _ in range(40):
        assert queue.take() == "a"
        pause = queue.failed("a")
        clock.now += pause
    assert pause == LONGEST_RETRY_S


def test_the_earliest_wish_wins() -> None:
    clock, queue = make()
    queue.add("a", after_s=60)
    queue.add("a", after_s=5)
    queue.add("a", after_s=30)
    clock.now = 4.9
    assert queue.take() is None
    clock.now = 5.0
    assert queue.take() == "a"
    queue.done("a")
    clock.now = 100.0
    assert queue.take() is None


def test_a_change_does_not_wait_for_the_retry_of_an_earlier_failure() -> None:
    _, queue = make()
    queue.add("a")
    assert queue.take() == "a"
    queue.failed("a")
    queue.add("a")
    assert queue.take() == "a"


def test_closing_wakes_who_waits() -> None:
    queue: WorkQueue[str] = WorkQueue()
    got: list[str | None] = ["unset"]
    waiter = threading.Thread(target=lambda: got.__setitem__(0, queue.get(30)))
    waiter.start()
    queue.close()
    waiter.join(5)
    assert not waiter.is_alive()
    assert got == [None]


def test_a_key_added_from_another_thread_wakes_who_waits() -> None:
    queue: WorkQueue[str] = WorkQueue()
    got: list[str | None] = []
    waiter = threading.Thread(target=lambda: got.append(queue.get(30)))
    waiter.start()
    queue.add("a")
    waiter.join(5)
    assert got == ["a"]
