"""When to look at which container: pure scheduling, with time as an argument.

In: containers with how often to look, rings of the doorbell, and how long a look took. Out: what is due. Never looks, never sleeps, never
reads a clock. Not for use by two threads at once.

1. A new container is looked at as a whole at once, and again after each interval.
2. A ring is due as soon as it is known: the doorbell has already waited a moment for what comes in one go.
3. What rang is looked at once more `HOT_S` later: a store through a shared mapping rings only once the kernel writes the page back.
4. Lost events: everything, as a whole, at most every `OVERFLOW_PAUSE_S`.
5. No container takes more than a fifth of the time: after a look of t seconds its next waits 4 t. Paths that rang do not wait so long for a
   look at everything, so that no crowd of files puts off what is told of others: theirs are a fifth of the time of their own. After a look
   at more than `FEW_PATHS` they gather for `GATHER_S`: what changes again and again meanwhile is looked at once.
6. One that floods (`observe.flood`) is looked at by the clock, as a whole every `FLOOD_LOOK_S`, and once more when that is over. What rang
   apart from a flood, or from a crowd of paths that is looked at as a whole, comes before that.
7. While a container is being looked at, nothing more of it is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from intact.model.seam import PodPlan

from .doorbell import keep_rare

HOT_S = 61.0
OVERFLOW_PAUSE_S = 5.0
FLOOD_LOOK_S = 10.0
FEW_PATHS = 16
GATHER_S = 0.1
LARGEST_SET = 4096
"""More paths than this are looked at as a whole."""
_NEVER = float("inf")


@dataclass(slots=True)
class _Watched:
    interval_s: float
    is_realtime: bool
    whole_at: float
    """When the next look at everything is due."""
    paths: set[bytes] = field(default_factory=set)
    has_rung: bool = False
    hot: set[bytes] = field(default_factory=set)
    hot_at: float = _NEVER
    is_hot_as_a_whole: bool = False
    not_before: float = 0.0
    whole_not_before: float = 0.0
    apart: set[bytes] = field(default_factory=set)
    paths_not_before: float = 0.0
    is_flooding: bool = False


class Schedule:
    """Containers and when to look at them. Keys are the caller's own, usually container ids."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._overflow_at = -_NEVER

    def add(self, container_id: str, plan: PodPlan, now: float) -> None:
        """1. Begins to watch, or takes over a changed plan without forgetting what is due. `watched=False` removes."""
        if not plan.watched:
            self.remove(container_id)
        elif known := self._watched.get(container_id):
            known.interval_s, known.is_realtime = plan.interval_s, plan.realtime
            known.whole_at = min(known.whole_at, now + plan.interval_s)
        else:
            self._watched[container_id] = _Watched(interval_s=plan.interval_s, is_realtime=plan.realtime, whole_at=now)

    def remove(self, container_id: str) -> None:
        self._watched.pop(container_id, None)

    def rang(self, container_id: str, paths: Iterable[bytes] | None, now: float) -> None:
        """2, 3. `paths` may differ now, or anything (None). Ignored for unknown containers, and where the plan wants no real time."""
        watched = self._watched.get(container_id)
        if watched is None or not watched.is_realtime:
            return
        watched.has_rung = True
        if watched.is_flooding:
            return
        if watched.hot_at == _NEVER:
            watched.hot_at = now + HOT_S
        if paths is None:
            watched.whole_at = min(watched.whole_at, now)
            watched.is_hot_as_a_whole = True
            return
        watched.paths.update(paths)
        watched.hot.update(paths)
        if len(watched.paths) > LARGEST_SET:
            self.rang_apart(container_id, keep_rare(watched.paths))
            watched.paths.clear()
            watched.whole_at = min(watched.whole_at, now)
        if len(watched.hot) > LARGEST_SET:
            watched.hot.clear()
            watched.is_hot_as_a_whole = True

    def rang_apart(self, container_id: str, paths: Iterable[bytes]) -> None:
        """6. `paths` of one that floods, or rings in very many places at once, rang where little else does."""
        watched = self._watched.get(container_id)
        if watched is not None and watched.is_realtime and len(watched.apart) < LARGEST_SET:
            watched.apart.update(paths)

    def flood(self, container_id: str, now: float) -> None:
        """6. Its rings count for nothing until `calm`."""
        if watched := self._watched.get(container_id):
            watched.is_flooding, watched.paths = True, set()
            watched.whole_at = min(watched.whole_at, now + FLOOD_LOOK_S)

    def calm(self, container_id: str, now: float) -> None:
        """6. Its flood is over."""
        if watched := self._watched.get(container_id):
            watched.is_flooding = False
        self.rang(container_id, None, now)

    def everything(self, now: float) -> None:
        """4. Events were lost: every container as a whole, now or as soon as the last such time is long enough ago."""
        at = max(now, self._overflow_at + OVERFLOW_PAUSE_S)
        self._overflow_at = max(at, self._overflow_at)
        for watched in self._watched.values():
            watched.whole_at = min(watched.whole_at, at)

    def look_at(self, container_id: str, now: float) -> None:
        """A whole look at one container, as soon as it has rested: what is looked for is other than before."""
        if watched := self._watched.get(container_id):
            watched.whole_at = min(watched.whole_at, now)

    def begin_look(self, container_id: str) -> None:
        """7. A look has begun that is not over soon."""
        if watched := self._watched.get(container_id):
            watched.not_before = _NEVER

    def looked(self, container_id: str, started: float, finished: float, paths: int | None = None) -> None:
        """5. A look at so many paths is over, or one at everything."""
        if watched := self._watched.get(container_id):
            rested = finished + 4 * max(0.0, finished - started)
            if paths is None:
                watched.not_before, watched.whole_not_before = finished, rested
            else:
                watched.not_before, watched.paths_not_before = rested, finished + (GATHER_S if paths > FEW_PATHS else 0.0)

    def due(self, now: float) -> list[tuple[str, frozenset[bytes] | None]]:
        """What to look at now: (container, paths or None for everything), each container once. What is returned is no longer due."""
        return [(key, self._take(watched, now)) for key, watched in self._watched.items() if self._due_at(watched) <= now]

    def next_due(self, now: float) -> float:
        """When something will be due if nothing rings; `now` if something is."""
        return max(now, min((self._due_at(watched) for watched in self._watched.values()), default=_NEVER))

    def is_dirty(self, container_id: str) -> bool:
        """Whether something rang that has not been looked at yet."""
        watched = self._watched.get(container_id)
        return watched is not None and watched.has_rung

    def _due_at(self, watched: _Watched) -> float:
        whole = max(min(watched.whole_at, watched.hot_at), watched.whole_not_before)
        if watched.apart:
            return watched.not_before
        return max(min(whole, watched.paths_not_before) if watched.paths else whole, watched.not_before)

    def _take(self, watched: _Watched, now: float) -> frozenset[bytes] | None:
        if watched.apart:  # before a look at everything, which takes as long as somebody likes
            apart, watched.apart = frozenset(watched.apart), set()
            return apart
        paths = watched.paths
        is_rested = watched.whole_not_before <= now
        is_whole = watched.whole_at <= now and is_rested
        if watched.hot_at <= now and is_rested:  # 3
            is_whole = is_whole or watched.is_hot_as_a_whole
            paths |= watched.hot
            watched.hot, watched.hot_at, watched.is_hot_as_a_whole = set(), _NEVER, False
        watched.paths, watched.has_rung = set(), False
        if not is_whole:
            return frozenset(paths)
        watched.whole_at = now + (min(FLOOD_LOOK_S, watched.interval_s) if watched.is_flooding else watched.interval_s)
        return None
