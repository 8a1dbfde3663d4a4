"""Background reading stands back while others wait for the disks.

In: how busy the disks are. Out: pauses between files, never within one. Never stops for good: after a pause of `LONGEST_PAUSE_S` it goes on
for `TURN_S`, so that a disk which is always busy is read all the same, slowly.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

BUSY_PERCENT = 25.0
"""Of the time some task waits for a disk (PSI, `some avg10`). Reading at the throttle's rate alone stays below on an idle machine."""
LONGEST_PAUSE_S = 60.0
TURN_S = 5.0
LOOK_EVERY_S = 1.0


class Consideration:
    """Called between files. `pressure` is a percentage, None where nobody knows: then there are no pauses, which is logged once."""

    def __init__(
        self,
        pressure: Callable[[], float | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pressure, self._clock, self._sleep = pressure, clock, sleep
        self._next_look = 0.0
        self._is_unknown_said = False

    def __call__(self) -> None:
        """Returns when it is time to go on."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        pressure = self._pressure()
        if pressure is None:
            if not self._is_unknown_said:
                self._is_unknown_said = True
                log.warning(
                    "io_pressure_unknown", reason="the kernel has no /proc/pressure/io: layers are read at their rate whatever waits"
                )
            return
        if pressure < BUSY_PERCENT:
            return
        log.info("layers_wait", io_pressure_percent=pressure)
        until = now + LONGEST_PAUSE_S
        while pressure is not None and pressure >= BUSY_PERCENT and self._clock() < until:
            self._sleep(LOOK_EVERY_S)
            pressure = self._pressure()
        self._next_look = self._clock() + TURN_S
