"""Clean verdicts, gathered: one leaf per node and interval says which containers were seen intact, so that the log grows with time and
nodes, not with looks. Pure: the caller says what time it is, and appends the leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from intact.model.finding import State, Verdict
from intact.model.observation import Scope

from .record import Leaf
from .steps import record_clean

INTERVAL_S = 300.0
MAX_CONTAINERS = 200
"""Verdicts in one leaf; beyond it the leaf is written early."""


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
