"""What the baseline stage needs from the world: a place that keeps bytes by name. It is never believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from intact.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBaseline:
    """What is kept of one baseline beside its tables. `envelope` is signed; the rest is for finding it."""

    key: Digest
    aliases: tuple[str, ...]
    diff_ids: tuple[Digest, ...]
    table_roots: tuple[Digest, ...]
    envelope: bytes


class BaselineFiles(Protocol):
    """Keeps envelopes by key and alias, and tables by root. Tables are shared between baselines."""

    def put(self, stored: StoredBaseline, tables: Mapping[Digest, memoryview]) -> None:
        """Stores all of it or nothing; replaces a baseline of the same key. Raises TemporaryError (disk full), PermanentError."""

    def find(self, name: str) -> StoredBaseline | None:
        """By key or alias; a key comes before an alias of the same spelling."""

    def find_by_layer(self, diff_id: Digest) -> Sequence[StoredBaseline]:
        """The baselines that have this layer, in order of key."""

    def open_table(self, root: Digest) -> memoryview | None:
        """A table's bytes, mapped where that is possible; None if they are not there."""

    def keys(self) -> tuple[Digest, ...]:
        """The keys of all stored baselines, sorted."""
