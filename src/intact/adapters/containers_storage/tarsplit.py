"""A layer's tar, rebuilt byte for byte from its tar-split and the files that were unpacked from it.

In: the gzip-compressed lines that tar-split writes (its README): one JSON object for each piece of the archive, either raw bytes (headers
and padding) or a file's name and size, whose content stands in the layer's directory. Out: the archive's bytes. Whoever reads them proves
them against the layer's diff_id; nothing here is believed, the CRC-64 of a line included, which proves less than that digest.

A layer that names a path twice, or removes what it wrote, cannot be rebuilt: the first content is nowhere any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from posixpath import normpath

import msgspec

from intact.ingest.gzip import CHUNK_BYTES, DamagedGzip, TruncatedGzip, inflate
from intact.model.entry import display_path
from intact.model.errors import InputError, TrustError

from .beneath import Beneath, Missing

MAX_LINE_BYTES = 16 << 20
MAX_NAME_BYTES = 4096
MAX_FILE_BYTES = 256 << 30
LINES_PER_TAR_BYTE = 10
"""A member costs at least 512 bytes of tar and two lines: their base64, a name that JSON escapes, and some words."""
FREE_LINE_BYTES = 1 << 20

_FILE, _SEGMENT = 1, 2
_NOTHING_READ = bytes(8)
"""The CRC-64 of no bytes: a link whose header states a size has no content in the archive."""


class Piece(msgspec.Struct, frozen=True):
    """A line of tar-split (its package storage, type Entry). `name_raw` holds names that are not UTF-8."""

    type: int
    name: str = ""
    name_raw: bytes | None = None
    size: int = 0
    payload: bytes | None = None

    @property
    def path(self) -> bytes:
        return self.name_raw or self.name.encode("utf-8", "surrogatepass")

    @property
    def content_bytes(self) -> int:
        return self.size if self.type == _FILE and self.payload != _NOTHING_READ else 0


_DECODER = msgspec.json.Decoder(Piece)


def read_pieces(chunks: Iterable[bytes], *, max_bytes: int, layer: str) -> Iterator[Piece]:
    """The pieces of a compressed tar-split, in order. Raises InputError on anything that is none, or on more than `max_bytes` of lines."""
    for line in _lines(_inflate(chunks, layer), max_bytes, layer):
        try:
            piece = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"layer {layer}: its tar-split is malformed: {error}", code="TarSplit") from None
        if piece.type not in (_FILE, _SEGMENT):
            raise InputError(f"layer {layer}: its tar-split has a line of type {piece.type}", code="TarSplit")
        if not 0 <= piece.size <= MAX_FILE_BYTES:
            raise InputError(f"layer {layer}: its tar-split states a size of {piece.size} bytes", code="TarSplit")
        yield piece


def measure_tar(pieces: Iterable[Piece]) -> int:
    """The size of the archive in bytes, nothing of it being read."""
    return sum(len(piece.payload or b"") if piece.type == _SEGMENT else piece.content_bytes for piece in pieces)


def rebuild_tar(pieces: Iterable[Piece], files: Beneath, *, layer: str) -> Iterator[bytes]:
    """The archive in chunks of about CHUNK_BYTES. Raises InputError (malformed) or TrustError (a file is not what it was)."""
    held = bytearray()
    for piece in pieces:
        if piece.type == _SEGMENT:
            held += piece.payload or b""
        elif piece.content_bytes:
            for part in _read_file(files, piece, layer):
                held += part
                if len(held) >= CHUNK_BYTES:
                    yield bytes(held)
                    held.clear()
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _read_file(files: Beneath, piece: Piece, layer: str) -> Iterator[bytes]:
    shown = display_path(piece.path, 200)
    name = normpath(b"/" + piece.path.lstrip(b"/"))
    if len(name) > MAX_NAME_BYTES or b"\0" in name:
        raise InputError(f"layer {layer}: its tar-split names a file of {len(name)} bytes", code="TarSplit")
    try:
        with files.open_file(name, follow=True) as descriptor:
            size = os.fstat(descriptor).st_size
            if size != piece.size:
                raise TrustError(f"layer {layer}: {shown} has {size} bytes, not {piece.size}", code="LayerAltered", hint=_ALTERED)
            at = 0
            while at < size:
                part = os.pread(descriptor, min(CHUNK_BYTES, size - at), at)
                if not part:
                    raise TrustError(f"layer {layer}: {shown} became shorter while it was read", code="LayerAltered", hint=_ALTERED)
                at += len(part)
                yield part
    except Missing:
        raise TrustError(f"layer {layer}: {shown} is not in the store", code="LayerAltered", hint=_ALTERED) from None
    except InputError as error:
        raise TrustError(f"layer {layer}: {error}", code="LayerAltered", hint=_ALTERED) from None


_ALTERED = "the store was altered, or the layer itself replaces what it wrote; docker:// reads the image from its registry"


def _lines(chunks: Iterator[bytes], max_bytes: int, layer: str) -> Iterator[bytes]:
    rest, total = b"", 0
    for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise InputError(f"layer {layer}: its tar-split unpacks to more than {max_bytes} bytes", code="TooLarge")
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > MAX_LINE_BYTES:
            raise InputError(f"layer {layer}: a line of its tar-split has more than {MAX_LINE_BYTES} bytes", code="TooLarge")
    if rest:
        yield rest


def _inflate(chunks: Iterable[bytes], layer: str) -> Iterator[bytes]:
    try:
        yield from inflate(chunks)
    except DamagedGzip as error:
        raise InputError(f"layer {layer}: its tar-split is damaged: {error}", code="TarSplit") from None
    except TruncatedGzip:
        raise InputError(f"layer {layer}: its tar-split ends too early", code="Truncated") from None
