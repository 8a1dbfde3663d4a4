"""What runs and what is mounted, watched on a thread of its own: mounts as they change, processes every `SWEEP_S`.

In: containers to watch. Out: believed looks, or the error that ended the thread, handed to one `deliver` from this thread. Never judges,
and never holds the flow up.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace

import structlog

from intact.model.container import Running
from intact.model.live import LiveLook
from intact.model.observation import Unobserved
from intact.observe.live import APART_S, Doubts
from intact.observe.ports import LiveWorld

log = structlog.get_logger()

SWEEP_S = 10.0
BUSY_SHARE = 0.05
"""A sweep of t seconds is followed by a pause of at least t / BUSY_SHARE: many processes make sweeps rarer, never the node slower."""


class LiveWatch:
    """`watch` and `forget` from any thread; `deliver` is called from the watching one. `clock`: Unix seconds, which looks carry; `steady`:
    seconds since whenever, that nobody can set."""

    def __init__(
        self,
        world: LiveWorld,
        deliver: Callable[[LiveLook | BaseException], None],
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._world = world
        self._deliver = deliver
        self._clock, self._steady = clock, steady
        self._lock = threading.Lock()
        self._doubts: dict[str, Doubts] = {}
        self._running: dict[str, Running] = {}
        self._last: dict[str, LiveLook] = {}
        self._due: dict[str, float] = {}
        self._rested_at = self._back_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._world.wake()
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._world.close()

    def watch(self, running: Running) -> None:
        """Looks at it at once, and from then on."""
        with self._lock:
            self._running[running.container.id] = running
            self._due[running.container.id] = 0.0
        self._world.wake()

    def forget(self, container_id: str) -> None:
        with self._lock:
            for known in (self._running, self._doubts, self._last, self._due):
                known.pop(container_id, None)
        self._world.forget(container_id)

    def look_again(self, container_id: str) -> None:
        """As soon as it is its turn, because somebody asked."""
        with self._lock:
            if container_id in self._due:
                self._due[container_id] = 0.0
        self._world.wake()

    def _run(self) -> None:
        try:
            self._watch_all()
        except BaseException as error:
            self._deliver(error)
            raise

    def _watch_all(self) -> None:
        while not self._stop.is_set():
            changed = self._world.wait(max(0.0, self._next_due() - self._steady()))
            for container_id in changed:
                self._take_mounts(container_id)
            self._look_back()
            self._bring_forward(self._world.take_stirred())
            due = self._take_due(self._steady())
            if due and not self._stop.is_set():
                self._sweep(due)

    def _look_back(self) -> None:
        """What ran since the last time, unless that is to be rested from: then it is kept, and the world wakes again."""
        started = self._steady()
        if started < self._back_at:
            return
        for look in self._world.take_past():
            self._deliver(look)
        now = self._steady()
        self._back_at = now + (now - started) / BUSY_SHARE

    def _next_due(self) -> float:
        with self._lock:
            return min(self._due.values(), default=self._steady() + SWEEP_S)

    def _take_due(self, now: float) -> list[str]:
        """Whoever is due: all on the same beat, since finding their processes costs the same for one as for all."""
        with self._lock:
            return [id for id, at in self._due.items() if at <= now]

    def _bring_forward(self, stirred: frozenset[str]) -> None:
        """They are due now, or once the last sweep is rested from."""
        with self._lock:
            for container_id in stirred & self._due.keys():
                self._due[container_id] = min(self._due[container_id], self._rested_at)

    def _take_mounts(self, container_id: str) -> None:
        """A table changed: what is mounted now is told with what ran at the last look."""
        mounts = self._world.look_at_mounts(container_id)
        with self._lock:
            last = self._last.get(container_id)
            if last is None or mounts is None:
                return
            private = tuple(mount for mount in last.mounts if mount.by is not None)
            look = self._last[container_id] = replace(last, mounts=(*mounts, *private), at=self._clock())
        self._deliver(look)

    def _sweep(self, due: list[str]) -> None:
        with self._lock:
            new = [self._running[id] for id in due if id in self._running and id not in self._doubts]
        for running in new:
            self._begin(running)
        started = self._steady()
        looks = {look.container.id: look for look in self._world.look(frozenset(due))}
        now = self._steady()
        rest = (now - started) / BUSY_SHARE
        self._rested_at = now + rest
        beat = (math.floor((now + rest) / SWEEP_S) + 1) * SWEEP_S
        for container_id in due:
            self._take_look(container_id, looks.get(container_id), beat)

    def _begin(self, running: Running) -> None:
        reason = self._world.watch(running)
        with self._lock:
            if running.container.id not in self._running:
                self._world.forget(running.container.id)
                return
            self._doubts[running.container.id] = Doubts()
        if reason:
            log.warning("not_seen_running", container=running.container.id[:12], reason=reason)
            unobserved = (Unobserved(path=b"/proc", reason=reason),)
            self._deliver(LiveLook(container=running.container, unobserved=unobserved, at=self._clock()))

    def _take_look(self, container_id: str, look: LiveLook | None, next_at: float) -> None:
        with self._lock:
            doubts = self._doubts.get(container_id)
            if doubts is None:
                return
            self._due[container_id] = next_at
            if look is None:
                return
            now = self._steady()
            believed, waits = doubts.settle(look, now)
            self._last[container_id] = believed
            if waits:
                self._due[container_id] = now + APART_S
        self._deliver(believed)
