"""Gzip members one after the other (RFC 1952 §2.2) → the bytes in them; anything else after a member is an error, as it is to Go's
compress/gzip. Never holds more than one chunk and a decompressor's window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

CHUNK_BYTES = 1 << 20

_ERROR = cast(type[Exception], IsalError)


class DamagedGzip(Exception):
    """With the reason: whoever reads says what of."""


class TruncatedGzip(Exception):
    """It ends within a member."""


def inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """In chunks of at most CHUNK_BYTES. Raises DamagedGzip, TruncatedGzip, and what `chunks` raises."""
    member, started = isal_zlib.decompressobj(wbits=31), False
    for chunk in chunks:
        data, more = chunk, True
        while data or more:
            started = True
            try:
                out = member.decompress(data, CHUNK_BYTES)
            except _ERROR as error:
                raise DamagedGzip(str(error)) from None
            if out:
                yield out
            if member.eof:
                data, member, started, more = member.unused_data, isal_zlib.decompressobj(wbits=31), False, False
            else:
                data, more = member.unconsumed_tail, len(out) == CHUNK_BYTES
    if started:
        raise TruncatedGzip
