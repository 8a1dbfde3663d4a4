"""Verdicts, gathered, so that the log grows with time, nodes and containers, not with looks: one leaf per node and interval says which
containers were seen intact, and of a container that is seen otherwise again and again the first are recorded one by one, then the last.
Pure: the caller says what time it is, and appends the leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from intact.model.finding import State, Verdict
from intact.model.incident import Workload
from intact.model.observation import Scope

from .record import Leaf
from .steps import record_clean, record_verdict

INTERVAL_S = 300.0
MAX_CONTAINERS = 200
"""Verdicts in one leaf; beyond it the leaf is written early."""
EACH = 10
"""Verdicts on one container and scope in an interval that are recorded one by one."""
MAX_RESTLESS = 10_000
"""Containers and scopes of which that is counted; beyond it the interval of the one that was begun first ends early."""


@dataclass(slots=True)
class _Open:
    since: float
    looks: int = 0
    last: dict[tuple[str, Scope], Verdict] = field(default_factory=dict)


class CleanTally:
    """Gathers clean verdicts per node. What it holds when the process dies is missing from the log, never wrong."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._open: dict[str, _Open] = {}

    def add(self, verdict: Verdict, now: float) -> tuple[Leaf, ...]:
        """Counts a verdict that is Intact; returns the leaves that became due because of it."""
        if verdict.state is not State.INTACT:
            raise ValueError(f"only clean verdicts are gathered, not {verdict.state}")
        node = verdict.container.node
        gathered = self._open.setdefault(node, _Open(since=now))
        gathered.looks += 1
        gathered.last[verdict.container.id, verdict.scope] = verdict
        if len(gathered.last) < MAX_CONTAINERS:
            return ()
        return (self._close(node, now),)

    def due(self, now: float) -> tuple[Leaf, ...]:
        """The leaves of the intervals that are over."""
        over = [node for node, gathered in self._open.items() if now - gathered.since >= self._interval_s]
        return tuple(self._close(node, now) for node in over)

    def flush(self, now: float) -> tuple[Leaf, ...]:
        """The leaves of all intervals, over or not: for the end of the process."""
        return tuple(self._close(node, now) for node in list(self._open))

    def _close(self, node: str, now: float) -> Leaf:
        gathered = self._open.pop(node)
        return record_clean(node, tuple(gathered.last.values()), since=gathered.since, looks=gathered.looks, now=now)


@dataclass(slots=True)
class _Restless:
    since: float
    states: set[State] = field(default_factory=set)
    recorded: int = 0
    held: int = 0
    held_since: float = 0.0
    last: Leaf | None = None


class RestlessTally:
    """Verdicts that are not clean. In each interval the first `EACH` on a container, and the first of each state, are recorded at once; of
    the rest the last is, with how many it stands for, when the interval is over. Findings have leaves of their own, and are never held.
    What it holds when the process dies is missing from the log: nodes are asked to tell anew how containers differ."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._open: dict[tuple[str, Scope], _Restless] = {}

    def add(self, verdict: Verdict, workload: Workload | None, now: float) -> tuple[Leaf, ...]:
        """The leaves that are to be written because of it."""
        key = verdict.container.id, verdict.scope
        leaves = self._close(key) if key in self._open and self._is_over(self._open[key], now) else ()
        if key not in self._open and len(self._open) >= MAX_RESTLESS:
            leaves += self._close(next(iter(self._open)))
        restless = self._open.setdefault(key, _Restless(since=now))
        if restless.recorded < EACH or verdict.state not in restless.states:
            restless.recorded += 1
            restless.states.add(verdict.state)
            return (*leaves, record_verdict(verdict, workload=workload, now=now))
        restless.held_since = restless.held_since or verdict.at
        restless.held += 1
        restless.last = record_verdict(verdict, workload=workload, now=now, stands_for=restless.held, since=restless.held_since)
        return leaves

    def due(self, now: float) -> tuple[Leaf, ...]:
        """The leaves of the intervals that are over."""
        over = [key for key, restless in self._open.items() if self._is_over(restless, now)]
        return tuple(leaf for key in over for leaf in self._close(key))

    def flush(self) -> tuple[Leaf, ...]:
        """The leaves of all intervals, over or not: for the end of the process."""
        return tuple(leaf for key in list(self._open) for leaf in self._close(key))

    def _is_over(self, restless: _Restless, now: float) -> bool:
        return not 0 <= now - restless.since < self._interval_s

    def _close(self, key: tuple[str, Scope]) -> tuple[Leaf, ...]:
        last = self._open.pop(key).last
        return () if last is None else (last,)
