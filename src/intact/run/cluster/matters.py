"""What the controller itself holds against nodes and images, by what holds it: cross-node truth, trust in images.

In: all matters of one cause, whenever they may have changed. Out: what stands against a subject now, and which subjects changed. Whoever
holds matters says all of them again each time, so that nothing has to be taken back one by one. Thread-safe. Kept in memory only: until a
cause has been spoken of after a start, what an open incident remembers of it still stands.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

from intact.model.incident import Matter, Workload
from intact.model.policy import Cause


class Matters:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Cause, dict[tuple[Workload, str], Matter]] = {}

    def hold(self, cause: Cause, matters: Iterable[Matter], now: float) -> frozenset[Workload]:
        """Replaces everything that is held of `cause`. Returns the subjects of which something changed, and those that are told for the
        first time since the start. A matter that stood before keeps its time."""
        fresh = {(one.subject, one.key): one for one in matters}
        with self._lock:
            before = self._held.get(cause)
            known = before or {}
            for place, one in fresh.items():
                last = known.get(place)
                is_same = last is not None and replace(one, at=last.at) == last
                fresh[place] = last if last is not None and is_same else replace(one, at=now)
            self._held[cause] = fresh
            changed = {place for place in known.keys() | fresh.keys() if known.get(place) != fresh.get(place)}
        return frozenset(subject for subject, _ in changed)

    def has_heard(self, cause: Cause) -> bool:
        """Whether anybody has spoken of `cause` since the start."""
        with self._lock:
            return cause in self._held

    def of(self, subject: Workload, last: Sequence[Matter] = ()) -> tuple[Matter, ...]:
        """What stands against `subject`; of causes nobody has spoken of yet, what stood `last`."""
        with self._lock:
            held = [one for matters in self._held.values() for (about, _), one in matters.items() if about == subject]
            return (*held, *(one for one in last if one.cause not in self._held))
