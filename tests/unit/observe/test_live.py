"""What is believed of running processes: nothing of what the container runtime shows in passing."""

from __future__ import annotations

from intact.model.container import Container
from intact.model.live import Departed, Departure, LiveLook, MountSeen, Place, Run, Runner
from intact.observe.live import APART_S, Doubts

CONTAINER = Container(id="c", name="web", image="i", image_key=None, node="n")


def _runner(pid: int, started: int = 1) -> Runner:
    return Runner(pid=pid, started_ticks=started, executable=b"/")


def _look(at: float, *facts: Run | Departed, mounts: tuple[MountSeen, ...] = ()) -> LiveLook:
    runs = tuple(fact for fact in facts if isinstance(fact, Run))
    departed = tuple(fact for fact in facts if isinstance(fact, Departed))
    return LiveLook(container=CONTAINER, runs=runs, departed=departed, mounts=mounts, at=at)


def _settle(doubts: Doubts, look: LiveLook) -> tuple[LiveLook, bool]:
    return doubts.settle(look, look.at)


def _in_memory(pid: int, started: int = 1) -> Run:
    return Run(path=b"/memfd:runc_cloned", place=Place.MEMORY, by=_runner(pid, started))


def test_a_file_of_the_containers_own_overlay_is_believed_at_once() -> None:
    own = Run(path=b"/tmp/x", place=Place.UPPER, by=_runner(1))
    assert _settle(Doubts(), _look(0.0, own)) == (_look(0.0, own), False)


def test_a_program_in_memory_is_believed_when_it_is_still_there() -> None:
    doubts = Doubts()
    assert _settle(doubts, _look(0.0, _in_memory(1))) == (_look(0.0), True)
    assert _settle(doubts, _look(APART_S / 2, _in_memory(1))) == (_look(APART_S / 2), True)
    assert _settle(doubts, _look(APART_S, _in_memory(1))) == (_look(APART_S, _in_memory(1)), False)


def test_one_probe_after_another_is_never_one_process_that_stays() -> None:
    doubts = Doubts()
    for number in range(10):
        believed, _ = _settle(doubts, _look(10.0 * number, _in_memory(number), Departed(by=_runner(number), how=Departure.MOUNTS)))
        assert not believed.runs and not believed.departed
    _settle(doubts, _look(100.0, _in_memory(7, started=1)))
    assert not _settle(doubts, _look(110.0, _in_memory(7, started=2)))[0].runs, "a pid that came back is another process"


def test_mounts_of_a_namespace_are_believed_with_the_process_that_shows_them() -> None:
    doubts, away = Doubts(), Departed(by=_runner(1), how=Departure.MOUNTS)
    own = MountSeen(target=b"/a", kind=b"tmpfs", source=b"", root=b"/", device=1)
    private = MountSeen(target=b"/b", kind=b"tmpfs", source=b"", root=b"/", device=1, by=_runner(1))
    assert _settle(doubts, _look(0.0, away, mounts=(own, private)))[0].mounts == (own,)
    assert _settle(doubts, _look(APART_S, away, mounts=(own, private)))[0].mounts == (own, private)
