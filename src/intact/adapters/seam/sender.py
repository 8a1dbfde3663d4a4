"""Drains the spool through the seam: oldest first, each until the cluster has it; a dead cluster costs time, never a report."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

import structlog

from intact.adapters.seam.ports import FORGED, Cluster
from intact.model.errors import InputError, IntactError

from .spool import Spool

log = structlog.get_logger()

FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 30.0


@dataclass(slots=True)
class Delivery:
    """How the sending goes. `failing` is the last error, empty while reports are taken."""

    delivered: int = 0
    refused: int = 0
    failing: str = ""


class Sender(threading.Thread):
    """One thread between a spool and the cluster.

    1. The oldest report is sent. 2. Stored: acknowledged. 3. The report itself is refused (InputError, or as forged): set aside, told as a
    Gap. 4. Anything else is about the two ends or the way between them, and may be mended there: the same report again, after a pause that
    doubles up to `MAX_PAUSE_S`, with jitter.
    """

    def __init__(self, spool: Spool, cluster: Cluster) -> None:
        super().__init__(name="sender", daemon=True)
        self._spool = spool
        self._cluster = cluster
        self._stopping = threading.Event()
        self.delivery = Delivery()

    def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            if self.send_oldest(wait_s=0.5):
                pause_s = FIRST_PAUSE_S
            elif self.delivery.failing:
                self._stopping.wait(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(MAX_PAUSE_S, pause_s * 2)

    def send_oldest(self, wait_s: float) -> bool:
        """Sends one report, waiting up to `wait_s` seconds for one; True if the spool got rid of it."""
        # 1
        spooled = self._spool.oldest(wait_s)
        if spooled is None:
            return False
        try:
            self._cluster.submit(spooled.report)
        except IntactError as error:
            # 3
            if isinstance(error, InputError) or error.code == FORGED:
                log.error("report_refused_by_controller", report=spooled.report.id, code=error.code, reason=str(error))
                self._spool.refuse(spooled.number, f"{error.code}: {error}")
                self.delivery.refused += 1
                return True
            # 4
            if self.delivery.failing != str(error):
                log.warning("report_not_delivered", code=error.code, reason=str(error), waiting=len(self._spool))
            self.delivery.failing = str(error)
            return False
        # 2
        if self.delivery.failing:
            log.info("reports_delivered_again", waiting=len(self._spool) - 1)
            self.delivery.failing = ""
        self._spool.acknowledge(spooled.number)
        self.delivery.delivered += 1
        return True

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread; what was not delivered stays in the spool."""
        self._stopping.set()
        self.join(timeout_s)
