"""A reader for hostile tar streams: chunks of an uncompressed layer → members, each with the digests of its content.

Reads what Go's archive/tar reads, because that is what runtimes unpack with: v7, ustar (POSIX.1-1988), STAR, PAX (POSIX.1-2001, pax(1)),
GNU long names, base-256 numbers. Refuses sparse files. One pass, constant memory, nothing written anywhere. Every refusal is an InputError
that names the layer and the member. It never resolves a name against anything: that is `layer`'s work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, NoReturn

from intact.model.digest import SHA256, Algorithms
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.hashing import choose_hasher

from .limits import Limits

BLOCK = 512
REGULAR, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO, GLOBAL = b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"g"
WITHOUT_CONTENT = frozenset({LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO})
"""Types whose size field says nothing about the stream (archive/tar, isHeaderOnlyType)."""

_HEADER = Struct("100s8s8s8s12s12s8ss100s6s2s32s32s8s8s155s12s")
_ZEROS = bytes(BLOCK)
_BLANKS = 8 * ord(" ")
_DEVICES = frozenset({CHAR, BLOCK_DEVICE})
_NO_DEVICE = (0, 0)
_PAX, _GNU_NAME, _GNU_LINK, _OLD, _GNU_SPARSE = b"x", b"L", b"K", b"\0", b"S"
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_STRINGS = frozenset({b"path", b"linkpath", b"uname", b"gname"})
_DECIMAL = re.compile(rb"[+-]?[0-9]{1,18}")


class Member(NamedTuple):
    """One member as the archive spells it: `name` and `link` raw; `digest` and `size_bytes` of a regular file's content, one digest after
    the other if there are several (`hashing.split_values`)."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    digest: bytes
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]


def read_members(chunks: Iterable[bytes], *, limits: Limits, layer: str, algorithms: Algorithms = SHA256) -> Iterator[Member]:
    """The members of a tar stream in its order; global PAX headers come as members of type GLOBAL, as Go hands them out.

    Reads the stream to its end, trailing data included, so that whoever hashes it has seen all of it. Raises InputError.
    """
    return _Reader(chunks, limits, layer, algorithms).members()


class _Reader:
    def __init__(self, chunks: Iterable[bytes], limits: Limits, layer: str, algorithms: Algorithms) -> None:
        self._chunks = iter(chunks)
        self._make_hasher = choose_hasher(algorithms)
        self._limits = limits
        self._layer = layer
        self._buffer = b""
        self._at = 0
        self._name = b""

    def members(self) -> Iterator[Member]:
        limits = self._limits
        count = 0
        extended: dict[bytes, bytes] = {}
        long_name = long_link = b""
        while (block := self._next_header()) is not None:
            count += 1
            if count > limits.entries:
                self._refuse(f"the layer has more than {limits.entries} members")
            name, mode, uid, gid, size_field, _, _, kind, link, magic, version, _, _, major, minor, prefix, _ = _HEADER.unpack_from(block)
            self._name = name = _text(name)
            size = self._number(size_field)
            if size < 0:
                self._refuse(f"its size is {size}")
            if kind in (_PAX, GLOBAL):
                extended = self._read_extended(size)
                if kind == GLOBAL:
                    yield Member(extended.get(b"path") or name, GLOBAL, 0, 0, 0, 0, b"", b"", (0, 0), {})
                    extended, long_name, long_link = {}, b"", b""
                continue
            if kind == _GNU_NAME:
                long_name = _text(self._take_special(size))
                continue
            if kind == _GNU_LINK:
                long_link = _text(self._take_special(size))
                continue
            device = _NO_DEVICE
            if magic == b"ustar\0" and prefix[0]:
                name = _text(prefix[:131] if block[508:512] == b"tar\0" else prefix) + b"/" + name
            if kind in _DEVICES and (magic == b"ustar\0" or (magic == b"ustar " and version == b" \0")):
                device = self._number(major), self._number(minor)
            owner, group, link = self._number(uid), self._number(gid), _text(link) if link[0] else b""
            xattrs = _NONE
            if extended:
                name = extended.get(b"path") or name
                link = extended.get(b"linkpath") or link
                self._name = name
                if b"uid" in extended:
                    owner = self._decimal(extended[b"uid"], owner)
                if b"gid" in extended:
                    group = self._decimal(extended[b"gid"], group)
                if b"size" in extended:
                    size = self._decimal(extended[b"size"], size)
                    if size < 0:
                        self._refuse(f"its size is {size}")
                xattrs = self._xattrs(extended)
                extended = {}
            name, link = long_name or name, long_link or link
            long_name = long_link = b""
            self._name = name
            if len(name) > limits.path_bytes or len(link) > limits.path_bytes:
                self._refuse(f"its name or link target is longer than {limits.path_bytes} bytes")
            if kind == _OLD:
                kind = DIRECTORY if name.endswith(b"/") else REGULAR
            if kind == _GNU_SPARSE:
                self._refuse("it is a sparse file, which no runtime unpacks from a layer")
            digest = b""
            if kind in WITHOUT_CONTENT:
                size = 0
            elif kind == REGULAR:
                digest = self._hash(size)
            else:
                self._refuse(f"its type {kind!r} is unknown")
            yield Member(name, kind, self._number(mode) & 0o7777, owner, group, size, digest, link, device, xattrs)
        self._name = b""
        for _ in self._chunks:
            pass

    def _next_header(self) -> bytes | None:
        """The next block with its checksum verified; None at the end of the archive: no data, or a block of zeros and no data, or two."""
        block = self._take(BLOCK, at_most=True)
        if block == _ZEROS:
            block = self._take(BLOCK, at_most=True)
            if block == _ZEROS or not block:
                return None
            self._refuse("a block of zeros stands between members")
        if not block:
            return None
        if len(block) < BLOCK:
            self._refuse("the archive ends within a header", code="Truncated")
        stated = self._number(block[148:156])
        if stated != sum(block) - sum(block[148:156]) + _BLANKS:
            blanked = block[:148] + b"        " + block[156:]
            if stated != sum(b - 256 if b > 127 else b for b in blanked):  # signed, as old tars summed
                self._refuse("the header's checksum is wrong", code="Checksum")
        return block

    def _read_extended(self, size: int) -> dict[bytes, bytes]:
        """PAX records `LENGTH KEY=VALUE\\n` (pax(1), Extended Header); the last of a key counts."""
        data = self._take_special(size)
        records: dict[bytes, bytes] = {}
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 20)
            digits = data[at:space] if space > 0 else b""
            end = at + int(digits) if digits.isdigit() else 0
            if end <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n":
                self._refuse("its extended header is malformed")
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not equals or not key or b"\0" in key or (key in _STRINGS and b"\0" in value):
                self._refuse("its extended header is malformed")
            if key.startswith(_SPARSE):
                self._refuse("it is a sparse file; rebuild the layer without --sparse", code="Sparse")
            records[key] = value
            at = end
        return records

    def _xattrs(self, extended: dict[bytes, bytes]) -> dict[bytes, bytes]:
        found = {key[len(_XATTR) :]: value for key, value in extended.items() if key.startswith(_XATTR)}
        if len(found) > self._limits.xattrs or any(len(value) > self._limits.xattr_bytes or len(key) > 255 for key, value in found.items()):
            self._refuse("it has too many or too large extended attributes")
        return found

    def _take_special(self, size: int) -> bytes:
        if size > self._limits.extended_header_bytes:
            self._refuse(f"its extended header has {size} bytes, more than {self._limits.extended_header_bytes}")
        data = self._take(size)
        self._skip_padding(size)
        return data

    def _hash(self, size: int) -> bytes:
        """Reads a member's content and its padding; its digests."""
        end = self._at + size
        if end <= len(self._buffer):
            digest = self._make_hasher(memoryview(self._buffer)[self._at : end]).digest()
            self._at = end
        else:
            hasher = self._make_hasher()
            left = size
            while left:
                if self._at >= len(self._buffer) and not self._fill():
                    self._refuse(f"its content ends {left} bytes too early", code="Truncated")
                part = memoryview(self._buffer)[self._at : self._at + left]
                hasher.update(part)
                self._at += len(part)
                left -= len(part)
            digest = hasher.digest()
        self._skip_padding(size)
        return digest

    def _skip_padding(self, size: int) -> None:
        """To the next block. The last member's padding may be missing, as it may for Go."""
        padding = -size % BLOCK
        if self._at + padding <= len(self._buffer):
            self._at += padding
        else:
            self._take(padding, at_most=True)

    def _take(self, size: int, *, at_most: bool = False) -> bytes:
        end = self._at + size
        if end <= len(self._buffer):
            data = self._buffer[self._at : end]
            self._at = end
            return data
        parts = []
        left = size
        while left:
            if self._at >= len(self._buffer) and not self._fill():
                if at_most:
                    break
                self._refuse("the archive ends within a header", code="Truncated")
            part = self._buffer[self._at : self._at + left]
            self._at += len(part)
            left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _fill(self) -> bool:
        self._at = 0
        self._buffer = next(self._chunks, b"")
        while not self._buffer:
            following = next(self._chunks, None)
            if following is None:
                return False
            self._buffer = following
        return True

    def _number(self, field: bytes) -> int:
        value = _parse_number(field)
        if value is None:
            self._refuse(f"a numeric field is malformed: {field!r}")
        return value

    def _decimal(self, text: bytes, otherwise: int) -> int:
        """A PAX number; an empty value keeps the header's (archive/tar, mergePAX)."""
        if not text:
            return otherwise
        if not _DECIMAL.fullmatch(text):
            self._refuse(f"a number of its extended header is malformed: {text[:40]!r}")
        return int(text)

    def _refuse(self, what: str, code: str = "Tar") -> NoReturn:
        member = f", member {display_path(self._name, 200)}" if self._name else ""
        raise InputError(f"layer {self._layer}{member}: {what}", code=code)


_NONE: dict[bytes, bytes] = {}


def _text(field: bytes) -> bytes:
    """A NUL-terminated string."""
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


@lru_cache(maxsize=4096)
def _parse_number(field: bytes) -> int | None:
    """Octal digits between blanks and NULs, or GNU base-256 (two's complement behind the top bit); None if neither, or over 63 bits."""
    if field and field[0] & 0x80:
        value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:])
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value if -(1 << 63) <= value < 1 << 63 else None
    digits = _text(field.strip(b" \0"))
    if not digits:
        return 0
    if not digits.isdigit():
        return None
    try:
        value = int(digits, 8)
    except ValueError:
        return None
    return value if value < 1 << 63 else None
