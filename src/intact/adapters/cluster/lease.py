"""Which replica acts: one Lease, renewed by the one that holds it (coordination.k8s.io/v1).

In: the name of the Lease, this process's identity. Out: whether this process may act now. A holder that cannot renew stops acting
`RENEW_DEADLINE_S` after its last success, well before anybody else may take the Lease at `DURATION_S`; nobody's wall clock matters, since
each measures by its own monotonic one how long the Lease stood unchanged. Never blocks whoever asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from intact.model.errors import IntactError, TemporaryError

from .api import Api, Conflict
from .kinds import LEASE

log = structlog.get_logger()

DURATION_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The Lease as it was read: who holds it, for how long, and the marker that changes with every renewal."""

    holder: str
    duration_s: float
    renewed: str


@dataclass(slots=True)
class Election:
    """One candidate's judgement. Pure but for its memory; `now` is this process's monotonic clock."""

    identity: str
    seen: Held | None = None
    seen_at: float = 0.0
    renewed_at: float | None = None
    """When the last successful renewal began."""

    def may_take(self, held: Held | None, now: float) -> bool:
        """Whether this candidate may write itself into the Lease it just read."""
        if held != self.seen:
            self.seen, self.seen_at = held, now
        if held is None or not held.holder or held.holder == self.identity:
            return True
        return now - self.seen_at >= held.duration_s

    def is_acting(self, now: float) -> bool:
        return self.renewed_at is not None and now - self.renewed_at < RENEW_DEADLINE_S


class LeaderElection:
    """`run` in a thread of its own until `stop`. `check` is the fence for every write."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_change: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change(acting)` is called from the election's thread."""
        self._api, self._namespace, self._name = api, namespace, name
        self._election = Election(identity)
        self._on_change, self._clock = on_change, clock
        self._was_acting = False
        self._stopping = threading.Event()

    @property
    def is_acting(self) -> bool:
        return self._election.is_acting(self._clock())

    def check(self) -> None:
        """Raises TemporaryError `NotActing` when this process may not write now."""
        if not self.is_acting:
            raise TemporaryError("another replica acts, or the Lease could not be renewed", code="NotActing")

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
            except IntactError as error:
                log.warning("lease.unreachable", why=str(error))
            self._tell()
            self._stopping.wait(RETRY_S)
        self._release()

    def stop(self) -> None:
        """Ends `run`, which gives the Lease back so that another replica need not wait for it to run out."""
        self._stopping.set()

    def step(self) -> None:
        """Reads the Lease, and takes or renews it if that is right. Raises TemporaryError and the like from the API."""
        began = self._clock()
        found = self._api.get(LEASE, self._name, self._namespace)
        if not self._election.may_take(_held(found), began):
            self._election.renewed_at = None
            return
        body = self._body(found, self._election.identity)
        try:
            if found is None:
                self._api.create(LEASE, body, record=False)
            else:
                self._api.replace(LEASE, body, fenced=False)
        except Conflict:
            # Somebody else was faster; the next step sees who.
            self._election.renewed_at = None
            return
        self._election.renewed_at = began

    def _tell(self) -> None:
        acting = self.is_acting
        if acting != self._was_acting:
            self._was_acting = acting
            log.info("lease.acting" if acting else "lease.lost", identity=self._election.identity)
            self._on_change(acting)

    def _release(self) -> None:
        acting, self._election.renewed_at = self.is_acting, None
        self._tell()
        if not acting:
            return
        try:
            found = self._api.get(LEASE, self._name, self._namespace)
            if _holder(found) == self._election.identity:
                self._api.replace(LEASE, self._body(found, ""), fenced=False)
        except IntactError as error:
            log.warning("lease.not_released", why=str(error))

    def _body(self, found: dict[str, Any] | None, holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        old = (found or {}).get("spec") or {}
        changed = old.get("holderIdentity", "") != holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(DURATION_S) if holder else 1,
            "acquireTime": now if changed else old.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if changed and holder else 0),
        }
        metadata = (found or {}).get("metadata") or {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}


def _held(found: dict[str, Any] | None) -> Held | None:
    if found is None:
        return None
    spec = found.get("spec") or {}
    return Held(
        holder=spec.get("holderIdentity") or "",
        duration_s=float(spec.get("leaseDurationSeconds") or DURATION_S),
        renewed=spec.get("renewTime") or "",
    )


def _holder(found: dict[str, Any] | None) -> str:
    return ((found or {}).get("spec") or {}).get("holderIdentity") or ""
