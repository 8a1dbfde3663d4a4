"""Threads that bring queued alerts to their sinks: one a sink, so that a dead one holds up no other."""

from __future__ import annotations

import threading
import time

import structlog

from intact.model.errors import IntactError
from intact.notify.router import Router

log = structlog.get_logger()

POLL_S = 0.25
"""How long an alert may wait in the outbox before somebody looks: part of the second an alert may take."""
RETRY_S = 2.0
"""After the outbox itself could not be used."""


def start_delivery(router: Router, stop: threading.Event) -> tuple[threading.Thread, ...]:
    """Starts delivering for every sink of `router` until `stop` is set."""
    threads = tuple(threading.Thread(target=_deliver, args=(router, name, stop), name=f"sink-{name}", daemon=True) for name in router.sinks)
    for thread in threads:
        thread.start()
    return threads


def _deliver(router: Router, name: str, stop: threading.Event) -> None:
    while True:
        last = stop.is_set()
        try:
            again_at = router.deliver_due(name)
        except IntactError as error:
            log.error("delivery_failed", sink=name, reason=str(error))
            again_at = None
            stop.wait(RETRY_S)
        if last:
            return
        stop.wait(POLL_S if again_at is None else min(POLL_S, max(0.01, again_at - time.time())))
