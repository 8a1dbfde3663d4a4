"""What is in an archive of an image: the sizes of its members, and which of some wanted contents are among them.

In: an open zip archive (also jar, war, ear, whl, egg, ez), sizes and digests. Out: numbers. The archive may be made to cost whoever reads
it dear: entries, bytes and nested archives are bounded, and only members of a wanted size are unpacked. Archives in the archive are looked
into, once (Spring Boot's jars). Never writes a file, never believes a name.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from intact.model.hashing import MakeHasher

EXTENSIONS = (".zip", ".jar", ".war", ".ear", ".whl", ".egg", ".ez", ".nar", ".hpi", ".aar")
MAX_ENTRIES = 200_000
MAX_NESTED_BYTES = 64 << 20
MAX_UNPACKED_BYTES = 256 << 20
MAX_MEMBER_BYTES = 64 << 20
_CHUNK = 1 << 18


class TooMuch(Exception):
    """A bound bit; what was found until then holds."""


@dataclass(slots=True)
class Search:
    """One archive: `wanted` are digests by size. `sizes` and `found` grow while it is read."""

    make_hasher: MakeHasher
    wanted: Mapping[int, frozenset[bytes]]
    sizes: set[int] = field(default_factory=set)
    found: set[bytes] = field(default_factory=set)
    _entries: int = 0
    _unpacked: int = 0

    def read(self, file: BinaryIO, *, is_nested: bool = False) -> None:
        """Raises TooMuch where a bound bit, and what `zipfile` raises for what is no archive."""
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                self._entries += 1
                if self._entries > MAX_ENTRIES:
                    raise TooMuch(f"more than {MAX_ENTRIES} members")
                if member.is_dir() or member.flag_bits & 0x1:
                    continue
                self._take(archive, member)
                if not is_nested and member.filename.lower().endswith(EXTENSIONS) and member.file_size <= MAX_NESTED_BYTES:
                    self._read_nested(archive, member)

    def _take(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        size = member.file_size
        if size > MAX_MEMBER_BYTES:
            return
        self.sizes.add(size)
        if size not in self.wanted:
            return
        hasher = self.make_hasher()
        try:
            for chunk in self._unpack(archive, member):
                hasher.update(chunk)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError):
            return
        digest = hasher.digest()
        if digest in self.wanted[size]:
            self.found.add(digest)

    def _read_nested(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        try:
            inner = io.BytesIO(b"".join(self._unpack(archive, member)))
            self.read(inner, is_nested=True)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError):
            return

    def _unpack(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """The content, at most as long as the directory of the archive says. Raises ValueError if it is longer."""
        left = member.file_size
        with archive.open(member) as source:
            while chunk := source.read(min(_CHUNK, left + 1)):
                self._unpacked += len(chunk)
                if self._unpacked > MAX_UNPACKED_BYTES:
                    raise TooMuch(f"more than {MAX_UNPACKED_BYTES} bytes to unpack")
                left -= len(chunk)
                if left < 0:
                    raise ValueError("longer than it says")
                yield chunk
