"""Which facts of a look at running processes are believed: those that cannot be a passing state of the container runtime.

In: the looks at one container, one after another. Out: the look with what is believed, and whether there is something to look at again
soon. Never judges. For some milliseconds, and on a busy node for longer, every start and every `exec` is the runtime's own process on its
way into the container: in its control group, with a program of the host or in memory, in other namespaces.

1. A file of the container's own overlay cannot be the runtime's: it is believed at once. So are mounts.
2. Anything else is believed of a process that shows it in two looks at least `APART_S` apart.
3. What was believed stays so as long as it is seen.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from intact.model.live import Departed, LiveLook, Place, Run, Runner

APART_S = 3.0


@dataclass(slots=True)
class Doubts:
    """What was seen of one container and since when; not for use by two threads at once."""

    _since: dict[Hashable, float] = field(default_factory=dict)

    def settle(self, look: LiveLook, now: float) -> tuple[LiveLook, bool]:
        """The believed part of `look`, made at `now` by a clock that nobody can set, and whether something in it waits for another look."""
        facts: tuple[Run | Departed, ...] = (*look.runs, *look.departed)
        since = {self._name(fact): self._since.get(self._name(fact), now) for fact in facts}
        self._since = since

        def is_believed(fact: Run | Departed) -> bool:
            return _is_own(fact) or now - since[self._name(fact)] >= APART_S

        runs, departed = tuple(filter(is_believed, look.runs)), tuple(filter(is_believed, look.departed))
        waits = len(runs) + len(departed) < len(look.runs) + len(look.departed)
        known = {fact.by for fact in departed}
        mounts = tuple(mount for mount in look.mounts if mount.by is None or _is_known(mount.by, known))
        return replace(look, runs=runs, departed=departed, mounts=mounts), waits

    @staticmethod
    def _name(fact: Run | Departed) -> Hashable:
        by = (fact.by.pid, fact.by.started_ticks)
        return (by, fact.how) if isinstance(fact, Departed) else (by, fact.path, fact.place, fact.is_mapped)


def _is_own(fact: Run | Departed) -> bool:  # 1
    return isinstance(fact, Run) and fact.place in (Place.UPPER, Place.GONE)


def _is_known(runner: Runner, known: set[Runner]) -> bool:
    return any((one.pid, one.started_ticks) == (runner.pid, runner.started_ticks) for one in known)
