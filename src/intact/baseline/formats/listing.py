"""Entries that a list names → a baseline that states what the list states, and no more.

In: entries by path, what they state, and the SHA-256 of the list itself, which stands for a layer's diff_id and, where nobody says which
image the list is of, for the key. Out: a baseline of one layer, of grade SUPPLIED. The directories above a listed path are in the table, as
implicit ones, and are stated only if the list named all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from intact.baseline.table import seal_table
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, display_path, parent
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade, Record
from intact.model.stated import Stated

from .losses import Losses

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """`kept` holds what was read of each path as compactly as its reader likes; `make` is the entry it stands for."""

    kept: Mapping[bytes, T]
    make: Callable[[bytes, T], Entry]
    stated: Stated
    digest: Digest
    losses: Losses = field(default_factory=Losses)

    def build(self, *, source: str, key: Digest | None = None, aliases: tuple[str, ...] = (), platform: str = "") -> Baseline:
        """The baseline. Raises InputError if a path is listed below something that is no directory."""
        table = seal_table(self.digest, Form.PLAIN, self._records())
        return Baseline(
            key=key or self.digest,
            layers=(table,),
            grade=Grade.SUPPLIED,
            source=source,
            aliases=aliases,
            platform=platform,
            stated=self.stated,
        )

    def _records(self) -> Iterator[Record]:
        implied = find_implied(self.kept)
        directories = {b"/"} | implied
        for path in sorted([*self.kept, *implied]):
            if path in implied:
                yield Record(path=path, entry=Entry(path=path, kind=Kind.DIRECTORY, mode=0o755), implicit=True)
            else:
                entry = self.make(path, self.kept[path])
                if entry.kind is Kind.DIRECTORY:
                    directories.add(path)
                elif path == b"/":
                    raise InputError("the list names the root directory as something else", code="ListPath")
                yield Record(path=path, entry=entry)
            above = parent(path)
            if above not in directories:
                raise InputError(
                    f"{display_path(path)} is listed below {display_path(above)}, which is listed as no directory", code="ListPath"
                )


def find_implied(paths: Mapping[bytes, object]) -> set[bytes]:
    """The directories above `paths` that are not among them, the root included."""
    implied: set[bytes] = set() if b"/" in paths else {b"/"}
    for path in paths:
        above = parent(path)
        while above not in implied and above not in paths:
            implied.add(above)
            above = parent(above)
    return implied
