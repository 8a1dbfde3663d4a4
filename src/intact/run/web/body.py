"""Request bodies of strangers: bounded on the wire, bounded when inflated, and refused at the first byte beyond either bound."""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncIterator

from intact.model.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_WIRE_BYTES = 4 << 20
MAX_BODY_BYTES = 16 << 20
_MAX_WINDOW_LOG = 23
"""8 MiB, what RFC 8878 (section 3.1.1.1.2) recommends a decoder to support, and no more."""


async def read_body(chunks: AsyncIterator[bytes], encoding: str) -> bytes:
    """The body in plain, of at most `MAX_BODY_BYTES`, from at most `MAX_WIRE_BYTES` on the wire.

    `encoding` is the Content-Encoding: none, `identity`, `gzip` or `zstd`. Raises InputError with code `Oversize`, `UnknownEncoding` or
    `BadEncoding`.
    """
    inflate = _inflater(encoding)
    parts: list[bytes] = []
    wire = size = 0
    async for chunk in chunks:
        wire += len(chunk)
        if wire > MAX_WIRE_BYTES:
            raise InputError(f"the body is larger than {MAX_WIRE_BYTES} bytes", code="Oversize")
        plain = inflate.feed(chunk, MAX_BODY_BYTES + 1 - size)
        size += len(plain)
        if size > MAX_BODY_BYTES:
            raise InputError(f"the body is larger than {MAX_BODY_BYTES} bytes when inflated", code="Oversize")
        parts.append(plain)
    if not inflate.is_whole():
        raise InputError("the body ends before its encoding does", code="BadEncoding")
    return b"".join(parts)


class _Plain:
    def feed(self, chunk: bytes, limit: int) -> bytes:
        return chunk[:limit]

    def is_whole(self) -> bool:
        return True


class _Gzip:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes, limit: int) -> bytes:
        if not chunk:
            return b""
        if self._inflater.eof:
            raise InputError("the body goes on after its gzip member", code="BadEncoding")
        try:
            plain = self._inflater.decompress(self._inflater.unconsumed_tail + chunk, limit)
        except zlib.error as error:
            raise InputError("the body is not gzip", code="BadEncoding") from error
        if self._inflater.unused_data:
            raise InputError("the body goes on after its gzip member", code="BadEncoding")
        return plain

    def is_whole(self) -> bool:
        return self._inflater.eof


class _Zstd:
    def __init__(self) -> None:
        self._inflater = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})

    def feed(self, chunk: bytes, limit: int) -> bytes:
        if not chunk:
            return b""
        if self._inflater.eof:
            raise InputError("the body goes on after its zstd frame", code="BadEncoding")
        try:
            plain = self._inflater.decompress(chunk, limit)
        except zstd.ZstdError as error:
            raise InputError("the body is not zstd", code="BadEncoding") from error
        if self._inflater.unused_data:
            raise InputError("the body goes on after its zstd frame", code="BadEncoding")
        return plain

    def is_whole(self) -> bool:
        return self._inflater.eof


def _inflater(encoding: str) -> _Plain | _Gzip | _Zstd:
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip":
            return _Gzip()
        case "zstd":
            return _Zstd()
        case other:
            raise InputError(f"unknown Content-Encoding {other[:40]!r}", code="UnknownEncoding", hint="use gzip, zstd or none")
