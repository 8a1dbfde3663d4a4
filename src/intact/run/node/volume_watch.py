"""The volumes of containers whose policy asks for them, searched on a thread of its own, one container after another.

In: containers to search, and how often. Out: looks, or the error that ended the thread, handed to one `deliver` from this thread. Never
judges, holds nobody else's look up, and works for a tenth of the time: a full volume makes its looks rarer, never the node slower.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from intact.model.container import Running
from intact.model.live import VolumeLook
from intact.observe.ports import Volumes

BUSY_SHARE = 0.1
CLOSE_S = 5.0


@dataclass(slots=True)
class _Searched:
    running: Running
    every_s: float
    due: float = 0.0


class _Closed(Exception):
    """Nobody waits for what is being looked at any more."""


class VolumeWatch:
    """`watch`, `forget` and `close` from any thread; the thread begins with the first container. `steady`: seconds since whenever, that
    nobody can set."""

    def __init__(self, volumes: Volumes, deliver: Callable[[VolumeLook | BaseException], None], *, steady: Callable[[], float]) -> None:
        self._volumes, self._deliver, self._steady = volumes, deliver, steady
        self._changed = threading.Condition()
        self._searched: dict[str, _Searched] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._worked_from = 0.0

    def watch(self, running: Running, every_s: float) -> None:
        """Searches them as soon as it is their turn, and again so long after each look."""
        with self._changed:
            known = self._searched.get(running.container.id)
            if known is not None and known.every_s == every_s:
                return
            self._searched[running.container.id] = _Searched(running, every_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="volumes", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, container_id: str) -> None:
        with self._changed:
            self._searched.pop(container_id, None)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while True:
                self._search(self._next())
        except _Closed:
            return
        except BaseException as error:
            self._deliver(error)
            raise

    def _next(self) -> _Searched:
        """Waits for whoever has been due for longest."""
        with self._changed:
            while not self._is_closed:
                now = self._steady()
                first = min(self._searched.values(), key=lambda one: one.due, default=None)
                if first is not None and first.due <= now:
                    return first
                self._changed.wait(None if first is None else first.due - now)
        raise _Closed

    def _search(self, one: _Searched) -> None:
        self._worked_from = self._steady()
        look = self._volumes.look(one.running, self._rest)
        self._rest()
        one.due = self._steady() + one.every_s
        if look is not None:
            self._deliver(look)

    def _rest(self) -> None:
        """Nine times as long as was worked since the last rest."""
        worked = self._steady() - self._worked_from
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, worked * (1 / BUSY_SHARE - 1))
            if self._is_closed:
                raise _Closed
        self._worked_from = self._steady()
