"""In virtual time: who floods is told apart from who is busy, and it ends."""

from __future__ import annotations

from intact.observe.flood import CALM_PER_S, FLOOD_PER_S, QUIET_S, RARE_ALL, RARE_EACH, FloodGauge, Ring

LOUD, BUSY = b"/s/1/fs", b"/s/2/fs"


def fill(gauge: FloodGauge, directory: bytes, events: int, now: float) -> list[Ring]:
    return [gauge.count(directory, now) for _ in range(events)]


def test_only_the_one_that_floods_is_not_followed_any_more() -> None:
    gauge = FloodGauge()
    for second in range(5):
        assert set(fill(gauge, BUSY, FLOOD_PER_S, second)) == {Ring.PATH}
    assert fill(gauge, LOUD, FLOOD_PER_S + 3, 5)[FLOOD_PER_S:] == [Ring.WHOLE, Ring.NOTHING, Ring.NOTHING]
    assert gauge.flooding == {LOUD}


def test_while_it_floods_it_rings_as_a_whole_once_a_second() -> None:
    gauge = FloodGauge()
    fill(gauge, LOUD, FLOOD_PER_S + 1, 0)
    for second in range(1, 4):
        assert fill(gauge, LOUD, 100, second) == [Ring.WHOLE] + [Ring.NOTHING] * 99


def test_it_is_over_when_it_was_calm_for_a_while_and_that_is_told_once() -> None:
    gauge = FloodGauge()
    fill(gauge, LOUD, FLOOD_PER_S + 1, 0)
    fill(gauge, LOUD, CALM_PER_S + 1, 9)
    for second in range(10, 19):
        fill(gauge, LOUD, CALM_PER_S, second)
        assert gauge.settle(second) == set()
    assert gauge.settle(9 + QUIET_S) == {LOUD}
    assert gauge.settle(9 + QUIET_S) == set() and gauge.flooding == set()
    assert gauge.count(LOUD, 20) is Ring.PATH


def test_what_happens_apart_from_the_flood_is_worth_a_look_of_its_own_within_bounds() -> None:
    gauge = FloodGauge()
    fill(gauge, LOUD, FLOOD_PER_S + 1, 0)
    assert [gauge.is_rare(LOUD, b"flooded") for _ in range(4)] == [True] * RARE_EACH + [False] * (4 - RARE_EACH)
    assert gauge.is_rare(LOUD, b"elsewhere")
    spread = [gauge.is_rare(LOUD, b"%d" % place) for place in range(RARE_ALL)]
    assert spread.count(True) == RARE_ALL - RARE_EACH - 1 and not gauge.is_rare(LOUD, b"late")
    fill(gauge, LOUD, 1, 1.5)
    assert gauge.is_rare(LOUD, b"late")


def test_what_is_forgotten_floods_no_more() -> None:
    gauge = FloodGauge()
    fill(gauge, LOUD, FLOOD_PER_S + 1, 0)
    gauge.forget([LOUD])
    assert gauge.flooding == set() and gauge.settle(100) == set()
