"""The log as a file that can be verified by itself: JSON Lines (docs/formats/audit-log.md).

A header, then each leaf with its index and hash, and each checkpoint right behind the last leaf it covers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from intact.model.errors import InputError
from intact.model.merkle import hash_leaf

from .note import check_name
from .ports import LeafStore

FORMAT = "intact-audit-export"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line: what the rest must hold. It is not signed; a verifier only compares it."""

    origin: str
    leaves: int
    checkpoints: int

    def encode(self) -> bytes:
        return _line(
            {"checkpoints": self.checkpoints, "format": FORMAT, "leaves": self.leaves, "origin": self.origin, "version": VERSION},
        )


def leaf_line(index: int, leaf: bytes) -> bytes:
    """`leaf` stands in the line byte for byte, as it was hashed."""
    return b'{"hash":"%s","index":%d,"leaf":%s}\n' % (hash_leaf(leaf).hex().encode(), index, leaf)


def checkpoint_line(note: bytes) -> bytes:
    return _line({"checkpoint": note.decode()})


def export_log(store: LeafStore) -> tuple[Header, Iterator[bytes]]:
    """The header and all lines, the header's included, of the log as it is now, without later appends. Raises InputError if empty."""
    size = store.head().frontier.size
    notes = [(covered, note) for covered, note in store.checkpoints() if covered <= size]
    if not notes:
        raise InputError("the audit log is empty: nothing was recorded in this state directory")
    header = Header(origin=check_name(notes[-1][1].decode().partition("\n")[0]), leaves=size, checkpoints=len(notes))
    return header, _lines(header, notes, store.leaves(0, size))


def _lines(header: Header, notes: list[tuple[int, bytes]], leaves: Iterator[bytes]) -> Iterator[bytes]:
    yield header.encode()
    waiting = iter(notes)
    covered, note = next(waiting)
    for index, leaf in enumerate(leaves):
        yield leaf_line(index, leaf)
        if index + 1 == covered:
            yield checkpoint_line(note)
            covered, note = next(waiting, (0, b""))


def _line(document: dict[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
