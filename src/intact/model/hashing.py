"""Content → its digests, by one algorithm or by several in one pass over the bytes.

In: which algorithms, then bytes as they come. Out: their values, one after the other, the deciding one first: one object of bytes for a
file, whatever it is known by. SHA-2, SHA-1 and MD5 are those of `hashlib`, at the speed of C; belt-hash is written in Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Protocol

from .belt import BeltHash
from .digest import SIZES, WEAK, Algorithms, Digest


class Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> object: ...

    def digest(self) -> bytes:
        """The values of what came so far."""


MakeHasher = Callable[..., Hasher]
"""Called with nothing, or with the first bytes."""

SLOW = frozenset({"belt-hash"})
"""Hashed in Python: thousands of times slower than the others (docs/benchmarks.md)."""


@cache
def choose_hasher(algorithms: Algorithms) -> MakeHasher:
    """What makes a hasher for `algorithms`."""
    makers = tuple(map(_make_maker, algorithms.names))
    return makers[0] if len(makers) == 1 else partial(_Several, makers)


def split_values(algorithms: Algorithms, values: bytes) -> tuple[Digest, tuple[Digest, ...]]:
    """What a hasher for `algorithms` returned → the deciding digest and the further ones."""
    found, at = [], 0
    for name in algorithms.names:
        found.append(Digest(name, values[at : at + SIZES[name]]))
        at += SIZES[name]
    return found[0], tuple(found[1:])


def _make_maker(name: str) -> MakeHasher:
    if name == "belt-hash":
        return BeltHash
    if name == "blake3":
        from blake3 import blake3  # an agent that is not asked for it does not load it

        return blake3
    maker: MakeHasher = getattr(hashlib, name)
    return partial(maker, usedforsecurity=False) if name in WEAK else maker


class _Several:
    """One pass for all of them."""

    __slots__ = ("_hashers",)

    def __init__(self, makers: Sequence[MakeHasher], data: bytes | memoryview = b"") -> None:
        self._hashers = [make(data) for make in makers]

    def update(self, data: bytes | memoryview) -> None:
        for hasher in self._hashers:
            hasher.update(data)

    def digest(self) -> bytes:
        return b"".join(hasher.digest() for hasher in self._hashers)
