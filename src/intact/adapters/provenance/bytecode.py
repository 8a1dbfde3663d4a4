"""Whether two marshalled code objects are the same code: compared without loading either.

In: bytes that `marshal.dumps` may have written (Python's Python/marshal.c, version 4, as in a `.pyc`). Out: a digest of what they say.
Whether an object was written once and referred to, or written twice, depends on how often it was referred to in that process: it changes
no meaning, and not the digest. Never builds an object, so hostile bytes cost their length and nothing else; bytes that are not understood
are refused.

1. Read one object: its type without the reference flag, its own bytes, the digests of what it holds.
2. Hash them; keep the digest where the flag says that the object may be referred to, in the order in which objects begin.
3. A reference has the digest of what it refers to, which must be complete: no object holds itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

MAX_DEPTH = 200
_FLAG_REF = 0x80
_TEXT = {b"a": 4, b"A": 4, b"u": 4, b"t": 4, b"z": 1, b"Z": 1}
"""Strings, by the length of their length: whether they are interned or short makes no difference."""
_FIXED = {b"N": 0, b"F": 0, b"T": 0, b".": 0, b"S": 0, b"i": 4, b"g": 8, b"y": 16}
_CODE_NUMBERS, _CODE_OBJECTS, _CODE_TAIL = 5, 8, 2
"""A code object since Python 3.11: five numbers, eight objects, the first line, two objects."""


class NotUnderstood(Exception):
    """Bytes that this reader does not take for marshalled code; the reason is for people."""


def digest_code(data: bytes) -> tuple[bytes, bytes]:
    """The digest of the one code object in `data`, and the file name it bears. Raises NotUnderstood, for anything behind it too."""
    reader = _Reader(data)
    if data[:1] not in (b"c", b"\xe3"):
        raise NotUnderstood("is no code")
    digest = reader.read(0)
    if reader.at != len(data):
        raise NotUnderstood("something follows the code")
    return digest, reader.filename


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0
    filename: bytes = b""
    references: list[bytes | None] = field(default_factory=list)
    texts: dict[bytes, bytes] = field(default_factory=dict)

    def read(self, depth: int) -> bytes:
        """1. One object."""
        if depth > MAX_DEPTH:
            raise NotUnderstood(f"is nested more than {MAX_DEPTH} deep")
        first = self._take(1)[0]
        kind = bytes([first & ~_FLAG_REF])
        if kind == b"r":  # 3
            return self._refer(self._number(4))
        slot = len(self.references)
        if first & _FLAG_REF:  # 2
            self.references.append(None)
        digest = self._digest(kind, depth)
        if first & _FLAG_REF:
            self.references[slot] = digest
        return digest

    def _digest(self, kind: bytes, depth: int) -> bytes:
        if kind in _TEXT:
            text = self._take(self._number(_TEXT[kind]))
            digest = _hash(b"text", text)
            if len(text) < 4096:
                self.texts[digest] = text
            return digest
        if kind in _FIXED:
            return _hash(kind, self._take(_FIXED[kind]))
        match kind:
            case b"s":
                return _hash(kind, self._take(self._number(4)))
            case b"l":
                size = self._take(4)
                return _hash(kind, size, self._take(2 * abs(int.from_bytes(size, "little", signed=True))))
            case b"(" | b")":
                return _hash(b"(", *self._several(self._number(4 if kind == b"(" else 1), depth))
            case b">":
                return _hash(kind, *sorted(self._several(self._number(4), depth)))
            case b":":
                return _hash(kind, *self._several(3, depth))
            case b"c":
                return self._code(depth)
        raise NotUnderstood(f"holds an object of type {kind!r}")

    def _code(self, depth: int) -> bytes:
        numbers = self._take(4 * _CODE_NUMBERS)
        objects = self._several(_CODE_OBJECTS, depth)
        first_line = self._take(4)
        tail = self._several(_CODE_TAIL, depth)
        self.filename = self.texts.get(objects[5], b"")  # of the outermost code in the end
        return _hash(b"c", numbers, first_line, *objects, *tail)

    def _several(self, count: int, depth: int) -> list[bytes]:
        if count > len(self.data) - self.at:
            raise NotUnderstood("is cut off")
        return [self.read(depth + 1) for _ in range(count)]

    def _refer(self, index: int) -> bytes:
        digest = self.references[index] if index < len(self.references) else None
        if digest is None:
            raise NotUnderstood("refers to nothing")
        return digest

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) != size:
            raise NotUnderstood("is cut off")
        self.at += size
        return taken


def _hash(kind: bytes, *parts: bytes) -> bytes:
    hasher = hashlib.sha256(kind)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()
