"""Digests that name their algorithm, written as OCI does: `sha256:<hex>` (image-spec, descriptor.md#digests), and which algorithms a
baseline may use for what."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from .errors import InputError

SIZES = {"sha256": 32, "sha384": 48, "sha512": 64, "sha224": 28, "blake3": 32, "belt-hash": 32, "md5": 16, "sha1": 20}
"""Every algorithm by which a file's content may be known, and the length of its values in bytes. `belt-hash` is that of STB 34.101.31."""

WEAK = frozenset({"md5", "sha1"})
"""Two contents of the same value can be made at will: for comparing with other people's lists, never for deciding."""

CHAIN = ("sha256", "sha384", "sha512")
"""What names blobs, layers and images (image-spec, descriptor.md#registered-algorithms)."""

_TEXT = re.compile(r"([a-z0-9-]+):([0-9a-f]+)")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and its value; two digests of different algorithms are never equal."""

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        if SIZES.get(self.algorithm) != len(self.value):
            raise InputError(f"not a {self.algorithm} digest of {SIZES.get(self.algorithm)} bytes: {self.value.hex()}")

    @classmethod
    def parse(cls, text: str, among: Collection[str] = CHAIN) -> Self:
        """`sha256:<64 hex digits>` → Digest; raises InputError on anything else, an algorithm that is not `among` the accepted included.

        By default those that may name a blob; `SIZES` accepts all that may stand for a file's content.
        """
        match = _TEXT.fullmatch(text)
        if match is None or match[1] not in among or len(match[2]) != 2 * SIZES[match[1]]:
            raise InputError(f"not a digest: {text[:100]!r}", hint=f"expected one of {', '.join(among)}, a colon and hex digits")
        return cls(match[1], bytes.fromhex(match[2]))

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = "sha256") -> Self:
        """The digest of `data`, by one of the algorithms of CHAIN."""
        return cls(algorithm, hashlib.new(algorithm, data).digest())

    @property
    def hex(self) -> str:
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


@dataclass(frozen=True, slots=True)
class Algorithms:
    """By what the files of a baseline are known: `deciding` is compared, those in `further` (sorted) only stand beside it."""

    deciding: str = "sha256"
    further: tuple[str, ...] = ()

    @classmethod
    def choose(cls, names: Iterable[str]) -> Self:
        """The first strong one of `names` decides; SHA-256 is added where none is strong. Raises InputError on an unknown name."""
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in SIZES:
                raise InputError(f"unknown algorithm {name[:100]!r}", code="Algorithm", hint=f"one of {', '.join(sorted(SIZES))}")
        deciding = next((name for name in wanted if name not in WEAK), "sha256")
        return cls(deciding, tuple(sorted(name for name in wanted if name != deciding)))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the deciding one first."""
        return self.deciding, *self.further

    def __str__(self) -> str:
        return " ".join(self.names)

    @property
    def described(self) -> str:
        """For people: `sha256`, or `sha256 (for comparison only: md5, sha1)`."""
        return f"{self.deciding} (for comparison only: {', '.join(self.further)})" if self.further else self.deciding


SHA256 = Algorithms()
