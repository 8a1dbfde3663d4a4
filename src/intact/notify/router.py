"""Brings alerts to every sink: kept before they are sent, in order per incident, tried again until they are taken or too old.

In: alerts. Out: calls of `Sink.send`. A sink that is down holds up no other, provided each is driven from a thread of its own. Delivery is
at least once: a process that dies between sending and noting so sends again, with the same id.

A storm is not passed on: beyond `burst` alerts, and `per_minute` after that, alerts are suppressed and told as a number. News of an action
and the end of an incident are never suppressed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intact.model.alert import Alert, AlertKind
from intact.model.errors import IntactError, PermanentError

from .alert import alert_for_suppressed
from .ports import Counts, Outbox, Sink

MAX_ERROR = 500
ALWAYS_SENT = {AlertKind.ACTION, AlertKind.RESOLVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How hard to try, and how much to send. A failed attempt waits `base_s` · 2ⁿ, at most `cap_s`, of which a random half."""

    base_s: float = 1.0
    cap_s: float = 300.0
    give_up_s: float = 24 * 3600.0
    burst: int = 60
    per_minute: float = 60.0


class Router:
    """All sinks of a process. `submit` from any thread; `deliver_due` from one thread per sink."""

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        *,
        clock: Callable[[], float],
        delivery: Delivery | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers in [0, 1). Raises ValueError for two sinks of one name."""
        self._outbox = outbox
        self._sinks = {sink.name: sink for sink in sinks}
        if len(self._sinks) != len(sinks):
            raise ValueError("two sinks of one name")
        self._clock = clock
        self._delivery = delivery or Delivery()
        self._chance = chance
        self._tokens = {name: (float(self._delivery.burst), clock()) for name in self._sinks}

    @property
    def sinks(self) -> tuple[str, ...]:
        return tuple(self._sinks)

    def submit(self, alert: Alert) -> None:
        """Queues `alert` for every sink; durable on return. The same alert again is not queued again. Raises TemporaryError."""
        self._outbox.add(alert, self.sinks, self._clock())

    def counts(self) -> dict[str, Counts]:
        return {name: self._outbox.counts(name) for name in self._sinks}

    def deliver_due(self, name: str) -> float | None:
        """Sends what is due for one sink; returns the Unix time at which to call again, None if nothing is pending.

        1. Tell what was suppressed, once there is room again.
        2. Take the first due alert; suppress it where the limit is reached.
        3. Send it. Taken: note so. Refused for good, or too old: bury it. Otherwise try again later, and leave the sink alone until then.
        """
        while True:
            now = self._clock()
            # 1
            if (missed := self._outbox.suppressed(name)) is not None and self._take_token(name, now):
                summary = alert_for_suppressed(name, missed.count, missed.level, first_seq=missed.first_seq, now=now)
                self._outbox.add(summary, [name], now)
                self._outbox.mark_told(name, missed.last_seq)
            # 2
            queued = self._outbox.next_due(name, now)
            if queued is None:
                return self._wake_at(name, now)
            exempt = queued.alert.kind in ALWAYS_SENT or queued.alert.kind is AlertKind.SUPPRESSED
            if not exempt and queued.attempts == 0 and not self._take_token(name, now):
                self._outbox.mark_suppressed(name, queued.seq)
                continue
            # 3
            try:
                self._sinks[name].send(queued.alert)
            except PermanentError as error:
                self._outbox.mark_dead(name, queued.seq, error=str(error)[:MAX_ERROR])
            except IntactError as error:
                if now - queued.queued_at >= self._delivery.give_up_s:
                    self._outbox.mark_dead(name, queued.seq, error=str(error)[:MAX_ERROR])
                    continue
                wait = min(self._delivery.cap_s, self._delivery.base_s * 2.0 ** min(queued.attempts, 32))
                again = now + wait * (0.5 + 0.5 * self._chance())
                self._outbox.mark_retry(name, queued.seq, at=again, error=str(error)[:MAX_ERROR])
                return again
            else:
                self._outbox.mark_sent(name, queued.seq)

    def _take_token(self, name: str, now: float) -> bool:
        tokens, at = self._tokens[name]
        tokens = min(float(self._delivery.burst), tokens + max(0.0, now - at) * self._delivery.per_minute / 60)
        taken = tokens >= 1
        self._tokens[name] = (tokens - taken, now)
        return taken

    def _wake_at(self, name: str, now: float) -> float | None:
        pending = self._outbox.next_at(name)
        if self._outbox.suppressed(name) is None:
            return pending
        room = now + 60 / self._delivery.per_minute
        return room if pending is None else min(room, pending)
