"""What the audit stage needs from the world: a place for leaves that keeps them, and a key that signs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from intact.model.merkle import Frontier


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a log stands: its frontier and the last signed checkpoint (a C2SP signed note); both empty for a log that was never written."""

    frontier: Frontier
    checkpoint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An encoded leaf, and what it can be found by."""

    data: bytes
    at: float
    kind: str
    node: str
    workload: str
    incident: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which leaves somebody wants to see: `since` ≤ time < `until` in Unix seconds; empty `kinds`, `workload`, `incident` mean any. A
    workload is named `Deployment shop/web` or `shop/web`, an incident by its whole id."""

    since: float | None = None
    until: float | None = None
    kinds: frozenset[str] = frozenset()
    workload: str = ""
    incident: str = ""


def workload_name(workload: str) -> str:
    """`Deployment shop/web` → `shop/web`."""
    return workload.partition(" ")[2]


class LeafStore(Protocol):
    """Leaves and checkpoints, only ever appended to. All methods raise TemporaryError when the store cannot be used now."""

    def transaction(self) -> AbstractContextManager[object]:
        """Holds off every other writer until the block ends, and makes what is appended inside durable then, or when the caller's own
        transaction ends."""

    def head(self) -> Head: ...

    def append(self, *, rows: Sequence[Row], head: Head) -> None:
        """Adds `rows` at the end, together with the new head, whose frontier counts them: all or nothing."""

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The encoded leaves `start` to `stop` (exclusive), in order."""

    def checkpoints(self) -> Iterator[tuple[int, bytes]]:
        """(size, signed note) of every checkpoint, in order of size."""

    def find(self, query: Query) -> Iterator[tuple[int, bytes]]:
        """(index, encoded leaf) of the leaves that match, in order."""


class Signer(Protocol):
    """An Ed25519 private key (RFC 8032), as `cryptography` has it."""

    def sign(self, data: bytes, /) -> bytes: ...
