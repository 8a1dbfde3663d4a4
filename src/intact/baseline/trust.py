"""A trust root: which keys may sign, from when until when, and which never again (docs/keys.md).

In: keys, times, revocations. Out: the keys that count now, and of the others why not. It is a small versioned document, read and written by
`trust_document`, that whoever relies on it has pinned; it is not signed itself. Its `version` only goes up: who remembers a higher one
refuses it (`succeed`). Times are Unix seconds. Never asks a clock.

A signature carries no time that could be believed, so what counts is the moment at which it is *taken in*:

1. A revoked key counts for nothing, whenever its signature was made or taken in: who stole a key writes any date.
2. What is new counts by a key that is within its time now.
3. What was taken in before, which the one who did so vouches for with a receipt of its own, counts by a key that was within its time then:
   a key that ran out does not make bad what it was good for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from intact.model.errors import InputError, TrustError

from .signing import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who counts, at one moment and for one purpose: what `signing.open_envelope` asks for."""

    keys: tuple[PublicKey, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Ids of known keys that do not count, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """`valid_from` ≤ now < `valid_until`; None is no bound."""

    key: PublicKey
    name: str = ""
    valid_from: float | None = None
    valid_until: float | None = None

    def refuse(self, at: float) -> str:
        """Why the key does not count at `at`; empty if it does."""
        if self.valid_from is not None and at < self.valid_from:
            return f"is valid only from {format_time(self.valid_from)} on"
        if self.valid_until is not None and at >= self.valid_until:
            return f"expired at {format_time(self.valid_until)}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """`at` is when people declared it; it does not limit what it covers."""

    id: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    version: int
    keys: tuple[TrustedKey, ...] = ()
    revoked: tuple[Revocation, ...] = ()

    @classmethod
    def of(cls, *keys: PublicKey) -> TrustRoot:
        """Keys that count without end, and no history: version 0."""
        return cls(version=0, keys=tuple(TrustedKey(key=key) for key in keys))

    @property
    def revoked_ids(self) -> frozenset[str]:
        return frozenset(one.id for one in self.revoked)

    def for_new(self, now: float) -> Trust:
        """Whose signature counts on what is taken in at `now`."""
        return self._at(now)

    def for_kept(self, accepted_at: float) -> Trust:
        """Whose signature counts on what was taken in at `accepted_at`."""
        return self._at(accepted_at)

    def _at(self, at: float) -> Trust:
        refused = {one.id: f"was revoked at {format_time(one.at)}: {one.reason}" for one in self.revoked}  # 1
        keys = []
        for one in self.keys:
            if one.key.id in refused:
                continue
            why = one.refuse(at)  # 2, 3
            if why:
                refused[one.key.id] = why
            else:
                keys.append(one.key)
        return Trust(keys=tuple(keys), refused=refused)

    def without(self, revoked: frozenset[str]) -> TrustRoot:
        """The same with these keys revoked too, for a reason that is remembered elsewhere."""
        known = tuple(
            Revocation(id=key_id, at=0.0, reason="an earlier trust root says so") for key_id in sorted(revoked - self.revoked_ids)
        )
        return replace(self, revoked=(*self.revoked, *known)) if known else self

    def name_of(self, key_id: str) -> str:
        return next((one.name for one in self.keys if one.key.id == key_id), "")

    def add(self, added: TrustedKey) -> TrustRoot:
        """The next version, with one more key. Raises InputError if it is there already, or was revoked."""
        if added.key.id in self.revoked_ids:
            raise InputError(f"key {added.key.id} was revoked: it is never trusted again", code="RevokedKey", hint="make a new key")
        if any(one.key.id == added.key.id for one in self.keys):
            raise InputError(f"key {added.key.id} is in the trust root already", code="KeyKnown")
        return replace(self, version=self.version + 1, keys=(*self.keys, added))

    def expire(self, key_id: str, at: float) -> TrustRoot:
        """The next version, in which the key ends at `at`."""
        keys = tuple(replace(one, valid_until=at) if one.key.id == key_id else one for one in self.keys)
        if keys == self.keys:
            raise InputError(f"key {key_id} ends then already, or is not in the trust root", code="KeyUnknown")
        return replace(self, version=self.version + 1, keys=keys)

    def revoke(self, key_id: str, at: float, reason: str) -> TrustRoot:
        """The next version, in which nothing the key ever signed counts. The key itself stays named, for those who meet its signatures."""
        if key_id in self.revoked_ids:
            raise InputError(f"key {key_id} was revoked already", code="RevokedKey")
        return replace(self, version=self.version + 1, revoked=(*self.revoked, Revocation(id=key_id, at=at, reason=reason)))


NOBODY = TrustRoot(version=0)
"""Trusts no key."""


def merge_trust(parts: Sequence[Trust]) -> Trust:
    """All keys of all; a key that one of them refuses counts for none."""
    refused = {key_id: why for part in parts for key_id, why in part.refused.items()}
    keys = {key.id: key for part in parts for key in part.keys if key.id not in refused}
    return Trust(keys=tuple(keys.values()), refused=refused)


def merge_roots(roots: Sequence[TrustRoot]) -> TrustRoot:
    """All keys and revocations of all, the first of each id."""
    keys = {one.key.id: one for root in reversed(roots) for one in root.keys}
    revoked = {one.id: one for root in reversed(roots) for one in root.revoked}
    version = max((root.version for root in roots), default=0)
    return TrustRoot(version=version, keys=tuple(keys.values()), revoked=tuple(revoked.values()))


def succeed(before: TrustRoot, after: TrustRoot) -> TrustRoot:
    """What to believe after `before` was believed and `after` came. A revocation once seen stays, whatever `after` says of it.

    Raises TrustError for an older version, or other keys under the same one.
    """
    if after.version == 0 == before.version:
        return after  # single keys: they have no history
    if after.version < before.version:
        raise TrustError(
            f"trust root version {after.version} is older than version {before.version}, which was seen before", code="TrustRootReplayed"
        )
    if after.version == before.version and (after.keys != before.keys or not after.revoked_ids <= before.revoked_ids):
        raise TrustError(f"there are two different trust roots of version {after.version}", code="TrustRootForked")
    kept = tuple(one for one in before.revoked if one.id not in after.revoked_ids)
    return replace(after, revoked=(*after.revoked, *kept))


def format_time(at: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
