"""What notify needs from the world: places to send to, and a box that keeps what is not yet sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from intact.model.alert import Alert
from intact.model.finding import Level


class Sink(Protocol):
    """A place where people look. `send` blocks, with a time limit of its own, until the place has taken the alert.

    Raises TemporaryError where trying again may help, PermanentError where this alert will never be taken.
    """

    @property
    def name(self) -> str:
        """Unique among the sinks of a process and the same after a restart: what is queued for it is found by it."""

    def send(self, alert: Alert) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """An alert on its way to one sink; `attempts` have failed so far."""

    seq: int
    alert: Alert
    attempts: int
    queued_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """Alerts kept back by a rate limit that nobody has been told of: how many, from which one on to which one, and the gravest level."""

    count: int
    first_seq: int
    last_seq: int
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the alerts for one sink."""

    pending: int = 0
    sent: int = 0
    dead: int = 0
    suppressed: int = 0


class Outbox(Protocol):
    """Alerts on their way, kept on disk. Every method raises TemporaryError when the store cannot be used now."""

    def add(self, alert: Alert, sinks: Sequence[str], now: float) -> int:
        """Queues the alert for each sink that was not given one of the same id before; returns for how many. Durable on return."""

    def next_due(self, sink: str, now: float) -> Queued | None:
        """The first pending alert that is due and that no older pending alert of the same incident stands before."""

    def next_at(self, sink: str) -> float | None:
        """When the next pending alert is due; None if nothing is pending."""

    def mark_sent(self, sink: str, seq: int) -> None: ...

    def mark_retry(self, sink: str, seq: int, *, at: float, error: str) -> None:
        """Counts a failed attempt; the next is at `at`."""

    def mark_dead(self, sink: str, seq: int, *, error: str) -> None:
        """Gives up on an alert; it stays countable, with the reason."""

    def mark_suppressed(self, sink: str, seq: int) -> None: ...

    def suppressed(self, sink: str) -> Suppressed | None:
        """What was suppressed and not told; None if nothing."""

    def mark_told(self, sink: str, last_seq: int) -> None:
        """The suppressed alerts up to `last_seq` were told as a number."""

    def counts(self, sink: str) -> Counts: ...

    def forget_before(self, at: float) -> int:
        """Forgets alerts queued before `at` that are no longer pending; returns how many."""
