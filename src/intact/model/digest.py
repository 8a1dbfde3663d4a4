"""Digests that name their algorithm, written as OCI does: `sha256:<hex>` (image-spec, descriptor.md#digests)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from .errors import InputError

SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
"""Accepted algorithms and the length of their values in bytes."""

_TEXT = re.compile(r"([a-z0-9]+):([0-9a-f]+)")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and its value; two digests of different algorithms are never equal."""

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        if SIZES.get(self.algorithm) != len(self.value):
            raise InputError(f"not a {self.algorithm} digest of {SIZES.get(self.algorithm)} bytes: {self.value.hex()}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`sha256:<64 hex digits>` → Digest; raises InputError on anything else, unknown algorithms included."""
        match = _TEXT.fullmatch(text)
        if match is None or match[1] not in SIZES or len(match[2]) != 2 * SIZES[match[1]]:
            raise InputError(f"not a digest: {text[:100]!r}", hint=f"expected one of {', '.join(SIZES)}, a colon and hex digits")
        return cls(match[1], bytes.fromhex(match[2]))

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = "sha256") -> Self:
        """The digest of `data`."""
        return cls(algorithm, hashlib.new(algorithm, data).digest())

    @property
    def hex(self) -> str:
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"
