"""belt-hash, the hash function of STB 34.101.31 (6.9; 256 bits): what state bodies of Belarus have to use.

In: bytes; out: 32 bytes. Written in Python because no library for it is maintained, so it is slow: docs/benchmarks.md has how slow. Not
made against whoever measures times: it hashes what everybody may read, and has no key to lose.

1. The state is h, at first the first 32 bytes of the substitution H, and s, at first zero.
2. Each block of 32 bytes, the last one filled with zeros, is compressed into both (6.8).
3. The value is the compression of the length in bits, s and h.
"""

from __future__ import annotations

from array import array
from functools import cache
from struct import Struct

_BLOCK_BYTES = 32
_WORDS = Struct("<8I")
_MASK = 0xFFFFFFFF

Words = tuple[int, ...]
"""Of 32 bits, the low byte of each first."""


class BeltHash:
    """Used as those of `hashlib` are."""

    __slots__ = ("_h", "_rest", "_s", "_size")

    def __init__(self, data: bytes | memoryview = b"") -> None:
        self._h: Words = _WORDS.unpack(_make_substitution()[:_BLOCK_BYTES])  # 1
        self._s: Words = (0, 0, 0, 0)
        self._rest = b""
        self._size = 0
        self.update(data)

    def update(self, data: bytes | memoryview) -> None:
        self._size += len(data)
        data = self._rest + bytes(data)
        whole = len(data) - len(data) % _BLOCK_BYTES
        s, h = self._s, self._h
        for block in _WORDS.iter_unpack(data[:whole]):  # 2
            mixed, h = _compress(block, h)
            s = _xor(s, mixed)
        self._s, self._h, self._rest = s, h, data[whole:]

    def digest(self) -> bytes:
        """The value of what came so far; more may follow."""
        s, h = self._s, self._h
        if self._rest:
            mixed, h = _compress(_WORDS.unpack(self._rest.ljust(_BLOCK_BYTES, b"\0")), h)
            s = _xor(s, mixed)
        bits = 8 * self._size
        _, value = _compress((*(bits >> shift & _MASK for shift in (0, 32, 64, 96)), *s), h)  # 3
        return _WORDS.pack(*value)


def _xor(one: Words, other: Words) -> Words:
    return tuple(a ^ b for a, b in zip(one, other, strict=True))


def _compress(x: Words, h: Words) -> tuple[Words, Words]:
    """belt-compress (6.8): a block and h → what is added to s, and the new h."""
    x1, x2, h1, h2 = x[:4], x[4:], h[:4], h[4:]
    both = _xor(h1, h2)
    s = _xor(_encrypt(both, x), both)
    y1 = _xor(_encrypt(x1, s + h2), x1)
    y2 = _xor(_encrypt(x2, (*(word ^ _MASK for word in s), *h1)), x2)
    return s, y1 + y2


def _encrypt(block: Words, key: Words) -> Words:
    """belt-block (6.1.3): 16 bytes under a key of 32. G_r replaces each byte by H and rotates the word by r; here two bytes at a time, so
    that the upper half comes out of the table of r + 16."""
    t5, t13, t21, t29 = _make_tables()
    a, b, c, d = block
    for i, (k1, k2, k3, k4, k5, k6, k7) in enumerate(zip(*[iter(key * 7)] * 7, strict=True), 1):
        x = a + k1 & 0xFFFFFFFF
        b ^= t5[x & 0xFFFF] ^ t21[x >> 16]
        x = d + k2 & 0xFFFFFFFF
        c ^= t21[x & 0xFFFF] ^ t5[x >> 16]
        x = b + k3 & 0xFFFFFFFF
        a = a - (t13[x & 0xFFFF] ^ t29[x >> 16]) & 0xFFFFFFFF
        x = b + c + k4 & 0xFFFFFFFF
        e = t21[x & 0xFFFF] ^ t5[x >> 16] ^ i
        b = b + e & 0xFFFFFFFF
        c = c - e & 0xFFFFFFFF
        x = c + k5 & 0xFFFFFFFF
        d = d + (t13[x & 0xFFFF] ^ t29[x >> 16]) & 0xFFFFFFFF
        x = a + k6 & 0xFFFFFFFF
        b ^= t21[x & 0xFFFF] ^ t5[x >> 16]
        x = d + k7 & 0xFFFFFFFF
        c ^= t5[x & 0xFFFF] ^ t21[x >> 16]
        a, b, c, d = b, d, a, c
    return b, d, a, c


@cache
def _make_substitution() -> bytes:
    """H (6.1.2, table 1), as the standard's annex generates it: 0 at 10, 8E at 11, and from there on each value is the one before it, moved
    116 times through a shift register of eight bits."""
    table = bytearray(256)
    value = 0x8E
    for index in range(11, 10 + 256):
        table[index % 256] = value
        for _ in range(116):
            value = value >> 1 | ((value & 0x63).bit_count() & 1) << 7
    return bytes(table)


@cache
def _make_tables() -> tuple[array[int], ...]:
    """For each pair of bytes, their substitutes rotated by 5, 13, 21 and 29. Arrays, which a processor's cache holds better than lists."""
    h = _make_substitution()
    pairs = [low | high << 8 for high in h for low in h]
    return tuple(array("I", [(pair << turn | pair >> 32 - turn) & _MASK for pair in pairs]) for turn in (5, 13, 21, 29))
