"""What the baseline stage needs from the world: a place that keeps bytes by name. It is never believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from intact.model.digest import Digest
from intact.model.policy import Signatory

PUT_WITHIN_S = 1800.0
"""A `put` that takes longer fails: what it has stored by then may be taken for left over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBaseline:
    """What is kept of one baseline beside its tables. `envelope` is signed; the rest is for finding it."""

    key: Digest
    aliases: tuple[str, ...]
    diff_ids: tuple[Digest, ...]
    table_roots: tuple[Digest, ...]
    envelope: bytes
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBaseline:
    """A baseline as housekeeping sees it. `used_at`: when it was stored, or last said to be needed (Unix seconds)."""

    key: Digest
    aliases: tuple[str, ...]
    table_roots: tuple[Digest, ...]
    envelope_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTable:
    """A table as housekeeping sees it. `root` is None for what is stored and nothing knows: left over by a process that died."""

    name: str
    root: Digest | None
    size_bytes: int
    stored_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A stored table's bytes, mapped where that is possible. `state` is another one as soon as anybody wrote there since; None where the
    place cannot tell."""

    data: memoryview
    state: bytes | None = None


MAX_PAYLOAD_BYTES = 1 << 16
"""Of a simple-signing payload; cosign's have some hundred bytes, and what people annotate."""
MAX_BUNDLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedSignature:
    """What a registry holds as a signature of an image. `simple`: a simple-signing payload and the signature over it; `bundle`: a sigstore
    bundle, which holds its signature itself."""

    form: Literal["simple", "bundle"]
    payload: bytes
    signature: bytes = b""


CANNOT_VERIFY = "CannotVerify"
"""The code of the error that says: identities cannot be verified here. An image that needs one is then neither signed nor unsigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an accepted identity signed. `signer`: the identity and its issuer, for people."""

    signer: str
    payload_type: str
    payload: bytes


class IdentityVerifier(Protocol):
    """Verifies sigstore bundles that were made with an identity instead of a key, without asking anybody."""

    def check(self) -> None:
        """Raises PermanentError (code `CannotVerify`) where nothing can be verified, and says what to do."""

    def open_bundle(self, unverified: bytes, accepted: Sequence[Signatory]) -> Opened:
        """Raises InputError or TrustError if it does not count, and what `check` raises."""


class KeyFiles(Protocol):
    """Keeps private files by name: one Secret, or one directory."""

    def read(self) -> Mapping[str, bytes]: ...

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        """Replaces all of them, if they still are `read_before`. Raises TemporaryError if they are not."""


class BaselineFiles(Protocol):
    """Keeps envelopes by key and alias, and tables by root. Tables are shared between baselines."""

    def put(self, stored: StoredBaseline, tables: Mapping[Digest, memoryview]) -> None:
        """Stores all of it or nothing; replaces a baseline of the same key, and what was damaged of its tables. Raises TemporaryError (disk
        full), PermanentError."""

    def find(self, name: str, platform: str = "") -> StoredBaseline | None:
        """By key or alias; a key comes before an alias of the same spelling. An alias belongs to the last baseline of each platform that
        claims it: an index and a tag name one image for each. Of those it is `model.platforms.pick_platform`'s."""

    def find_by_layer(self, diff_id: Digest) -> Iterator[StoredBaseline]:
        """The baselines that have this layer, in order of key, read as they are asked for."""

    def open_table(self, root: Digest, *, anew: bool = False) -> TableFile | None:
        """None if it is not there. `anew`: what it gave last was no good, so not from a copy that is nearer. Raises TrustError if what is
        there cannot be the table, TemporaryError, PermanentError."""

    def keys(self) -> tuple[Digest, ...]:
        """The keys of all stored baselines, sorted."""

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def mark_used(self, names: Collection[str], now: float) -> None:
        """These keys and aliases are needed now; those that nobody stored are passed over."""

    def list_baselines(self) -> Iterator[KeptBaseline]:
        """All baselines, in order of key."""

    def list_tables(self) -> Iterator[KeptTable]:
        """All tables, and what is left over of them."""

    def remove_baseline(self, key: Digest, *, unused_since: float) -> bool:
        """Forgets a baseline, unless it was stored or marked after `unused_since`. Its tables stay. Whether it is gone."""

    def remove_table(self, table: KeptTable, *, stored_before: float) -> bool:
        """Removes a table that no baseline has now and that was stored before then: looked at again in the same step that removes it, so
        that none goes that a baseline just began to use. Whether it is gone."""
