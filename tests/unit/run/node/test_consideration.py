"""Layers are read while nobody waits for the disks, and all the same in the end where somebody always does."""

from __future__ import annotations

from pathlib import Path

from intact.adapters.linux.pressure import read_io_pressure
from intact.run.node.consideration import BUSY_PERCENT, LONGEST_PAUSE_S, TURN_S, Consideration


class Machine:
    def __init__(self, *pressures: float | None) -> None:
        self.pressures = list(pressures)
        self.now = 100.0
        self.slept = 0.0
        self.asked = 0

    def pressure(self) -> float | None:
        self.asked += 1
        return self.pressures.pop(0) if len(self.pressures) > 1 else self.pressures[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds

    def consider(self) -> Consideration:
        return Consideration(self.pressure, clock=lambda: self.now, sleep=self.sleep)


def test_nobody_waits_while_the_disks_are_free() -> None:
    machine = Machine(BUSY_PERCENT - 1)
    consider = machine.consider()
    for _ in range(10_000):
        consider()
    assert (machine.slept, machine.asked) == (0.0, 1), "a file is not the price of a look"


def test_reading_waits_until_the_disks_are_free_again() -> None:
    machine = Machine(90.0, 80.0, BUSY_PERCENT, 3.0)
    machine.consider()()
    assert (machine.slept, machine.asked) == (3.0, 4)


def test_disks_that_are_always_busy_are_read_all_the_same() -> None:
    machine = Machine(99.0)
    consider = machine.consider()
    consider()
    assert machine.slept == LONGEST_PAUSE_S
    machine.now += TURN_S / 2
    consider()
    assert machine.slept == LONGEST_PAUSE_S
    machine.now += TURN_S
    consider()
    assert machine.slept == 2 * LONGEST_PAUSE_S


def test_a_kernel_that_does_not_say_stops_nobody() -> None:
    machine = Machine(None)
    consider = machine.consider()
    consider()
    machine.now += 60
    consider()
    assert machine.slept == 0.0


def test_pressure_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    told = tmp_path / "io"
    assert read_io_pressure(told) is None
    told.write_text("some avg10=12.34 avg60=3.60 avg300=3.18 total=762507127\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=260617500\n")
    assert read_io_pressure(told) == 12.34
    told.write_text("nonsense\n")
    assert read_io_pressure(told) is None
