"""The key that the controller signs baselines with, rotated while it runs, and the trust root that agents pin.

In: where private files are kept, and the trust root that people gave. Out: a signer that is another one after a rotation, the keys before
it, and what to publish. What people revoke is revoked here too, and told to the agents: the controller's own keys by the same document as
all others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from intact.baseline.ports import KeyFiles
from intact.baseline.ring import Ring, turn_ring
from intact.baseline.signing import PublicKey
from intact.baseline.trust import TrustRoot
from intact.baseline.trust_document import encode_trust

log = structlog.get_logger()


class OwnKeys:
    """Implements `baseline.signing.Signer`. Thread-safe. `people`: whom people trust and revoked, asked anew at each turn."""

    def __init__(self, files: KeyFiles, *, people: Callable[[], TrustRoot], now: float, rotate_after_s: float) -> None:
        """Raises IntactError where there are no keys and none can be made."""
        self._files, self._people, self._rotate_after_s = files, people, rotate_after_s
        self._lock = threading.Lock()
        self._ring = self._make(now)

    def turn(self, now: float) -> None:
        """Rotates and revokes what is due. Raises TemporaryError: try again."""
        after, before = self._make(now), self._ring
        with self._lock:
            self._ring = after
        if after.root != before.root or after.signer.public != before.signer.public:
            log.info("own_keys", signer=after.signer.public.id, version=after.root.version, keys=len(after.root.keys))

    @property
    def public(self) -> PublicKey:
        return self._now().signer.public

    def sign(self, message: bytes) -> bytes:
        return self._now().signer.sign(message)

    def retired(self) -> tuple[PublicKey, ...]:
        """The keys whose signatures are the controller's too: those before, and the next. Never a revoked one."""
        root = self._now().root
        return tuple(one.key for one in root.keys if one.key.id not in root.revoked_ids)

    @property
    def revoked_ids(self) -> frozenset[str]:
        return self._now().root.revoked_ids

    def published(self) -> bytes:
        """The trust root as agents pin it."""
        return encode_trust(self._now().root)

    def _make(self, now: float) -> Ring:
        return turn_ring(self._files, now, revoked=self._people().revoked, rotate_after_s=self._rotate_after_s)

    def _now(self) -> Ring:
        with self._lock:
            return self._ring
