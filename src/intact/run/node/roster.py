"""Which containers of the node are watched now, and which ended lately.

In: containers that come and go. Out: what is remembered of each, and which directories nobody uses any more. For the flow's thread; never
looks at a container.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from intact.model.container import Running

from .watched import Watched

REMEMBERED_ENDED = 1024


class Roster:
    """In the order in which the containers came."""

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}
        self._ended: deque[str] = deque(maxlen=REMEMBERED_ENDED)

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._watched.values())

    def get(self, container_id: str) -> Watched | None:
        return self._watched.get(container_id)

    def holds(self, watched: Watched) -> bool:
        """Whether it is the one that is watched now, and did not end meanwhile."""
        return self._watched.get(watched.running.container.id) is watched

    def ids(self) -> frozenset[str]:
        return frozenset(self._watched)

    def ended_ids(self) -> frozenset[str]:
        """As many as `REMEMBERED_ENDED`."""
        return frozenset(self._ended)

    def add(self, running: Running) -> Watched:
        watched = self._watched[running.container.id] = Watched(running=running)
        return watched

    def remove(self, watched: Watched) -> list[bytes]:
        """It has ended; the directories that no other container uses."""
        del self._watched[watched.running.container.id]
        self._ended.append(watched.running.container.id)
        in_use = {directory for one in self._watched.values() for directory in _list_directories(one.running)}
        return [directory for directory in _list_directories(watched.running) if directory not in in_use]


def _list_directories(running: Running) -> tuple[bytes, ...]:
    return (running.mounted.upper, *running.mounted.lowers) if running.mounted is not None else ()
