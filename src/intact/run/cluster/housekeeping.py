"""Now and then, baselines that no image needs any more are let go.

In: what is needed now. Out: what went, in the audit log. What cannot be done now is tried again soon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

import structlog

from intact.audit.log import AuditLog
from intact.audit.steps import record_collection
from intact.baseline.collect import RETAIN_S, Harvest, collect
from intact.baseline.ports import BaselineFiles
from intact.model.errors import IntactError

log = structlog.get_logger()

FIRST_AFTER_S = 600.0
"""By then it is known what runs."""
EVERY_S = 6 * 3600.0
RETRY_S = 600.0


class BaselineKeeper:
    """`needed`: the names of all images that run, and of those that a rollback may go to."""

    def __init__(
        self,
        files: BaselineFiles,
        *,
        needed: Callable[[], Collection[str]],
        audit: AuditLog,
        retain_s: float = RETAIN_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files, self._needed, self._audit, self._retain_s, self._clock = files, needed, audit, retain_s, clock

    def run(self, stop: threading.Event) -> None:
        pause_s = FIRST_AFTER_S
        while not stop.wait(pause_s):
            try:
                self.collect()
                pause_s = EVERY_S
            except IntactError as error:
                log.warning("baselines_not_collected", reason=str(error))
                pause_s = RETRY_S

    def collect(self) -> Harvest:
        """Once, now. Raises IntactError."""
        now = self._clock()
        harvest = collect(self._files, needed=self._needed(), now=now, retain_s=self._retain_s)
        log.info(
            "baselines_collected",
            baselines=len(harvest.baselines),
            tables=len(harvest.tables),
            freed_bytes=harvest.size_bytes,
            kept_bytes=harvest.kept_bytes,
        )
        if harvest.baselines or harvest.tables:
            self._audit.append(
                [
                    record_collection(
                        baselines=[one.name for one in harvest.baselines],
                        tables=len(harvest.tables),
                        size_bytes=harvest.size_bytes,
                        kept_bytes=harvest.kept_bytes,
                        now=now,
                    )
                ]
            )
        return harvest
