"""Commands that wait for their node: put in by the cluster flow, taken out by the seam, settled by the node's outcome.

A command is handed out again every `REDELIVER_S` until its outcome came or it expired, so that a lost answer loses no command; a node
ignores ids it has carried out. Kept in memory only: whoever gave a command that nobody settled gives it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from intact.adapters.seam.ports import deliverable
from intact.model.errors import TemporaryError
from intact.model.seam import Command

REDELIVER_S = 15.0
MAX_PER_NODE = 1000


@dataclass(slots=True)
class _Waiting:
    command: Command
    due_at: float


class CommandBox:
    """All nodes' waiting commands. Thread-safe. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_node: dict[str, dict[str, _Waiting]] = {}
        self._changed = threading.Condition()
        self._listeners: list[Callable[[str], None]] = []

    def put(self, command: Command) -> None:
        """Adds `command`; one with the same id replaces it. Raises TemporaryError when the node has `MAX_PER_NODE` unsettled ones."""
        with self._changed:
            waiting = self._by_node.setdefault(command.node, {})
            self._drop_expired(waiting)
            if len(waiting) >= MAX_PER_NODE and command.id not in waiting:
                raise TemporaryError(f"node {command.node} has {MAX_PER_NODE} commands it has not carried out", code="TooManyCommands")
            waiting[command.id] = _Waiting(command, self._clock())
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for call in listeners:
            call(command.node)

    def settle(self, node: str, command_id: str) -> None:
        """The node's outcome came: the command is not handed out again."""
        with self._changed:
            self._by_node.get(node, {}).pop(command_id, None)

    def take(self, node: str, wait_s: float) -> tuple[Command, ...]:
        """What is due for `node`; waits up to `wait_s` seconds for the first."""
        until = self._clock() + wait_s
        with self._changed:
            while True:
                due = self._due(node)
                left = until - self._clock()
                if due or left <= 0:
                    return due
                self._changed.wait(min(left, REDELIVER_S))

    def when_put(self, call: Callable[[str], None]) -> None:
        """Registers `call(node)`: called on every `put`, from its thread."""
        with self._changed:
            self._listeners.append(call)

    def _due(self, node: str) -> tuple[Command, ...]:
        waiting = self._by_node.get(node, {})
        self._drop_expired(waiting)
        now = self._clock()
        due = [w for w in waiting.values() if w.due_at <= now]
        for each in due:
            each.due_at = now + REDELIVER_S
        return deliverable(tuple(w.command for w in due), node, now)

    def _drop_expired(self, waiting: dict[str, _Waiting]) -> None:
        now = self._clock()
        for command_id in [i for i, w in waiting.items() if w.command.expires_at <= now]:
            del waiting[command_id]
