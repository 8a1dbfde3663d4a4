"""Compressed layer blobs → the layer's tar stream.

In: chunks and the media type of OCI (image-spec, layer.md) or Docker (image manifest v2 schema 2). Out: chunks of at most CHUNK_BYTES.
As in containerd, a type that names a compression, or a Docker type that leaves it open, is decompressed by what the first bytes say; an
OCI layer without a suffix is read as it is. Never holds more than one chunk and a decompressor's window.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain

from intact.model.errors import InputError

from .gzip import CHUNK_BYTES, DamagedGzip, TruncatedGzip, inflate
from .limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_WINDOW_LOG = 27
"""128 MiB: what `zstd --long` writes at most without a further option."""

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"

PLAIN_TYPES = frozenset({OCI_LAYER, OCI_FOREIGN_LAYER})
DETECTED_TYPES = frozenset(
    {
        *(f"{base}+{suffix}" for base in (OCI_LAYER, OCI_FOREIGN_LAYER) for suffix in ("gzip", "zstd")),
        *(f"{base}{suffix}" for base in (DOCKER_LAYER, DOCKER_FOREIGN_LAYER) for suffix in ("", ".gzip", ".zstd")),
    }
)


_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_PEEK_BYTES = 10


def is_foreign(media_type: str) -> bool:
    """Whether a layer of this type may be absent from registries (image-spec, layer.md#non-distributable-layers)."""
    return media_type.startswith((OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER))


def check_layer_type(media_type: str) -> None:
    """Raises InputError unless `media_type` is a layer's that we can read."""
    if media_type in PLAIN_TYPES or media_type in DETECTED_TYPES:
        return
    if "encrypted" in media_type:
        raise InputError(f"layer type {media_type}: encrypted layers cannot be read", code="MediaType", hint="decrypt it first")
    raise InputError(f"unknown layer type {media_type[:200]!r}", code="MediaType", hint="OCI and Docker schema 2 can be read")


def decompress(chunks: Iterable[bytes], media_type: str, *, limits: Limits, layer: str) -> Iterator[bytes]:
    """The tar stream of a layer blob. Raises InputError on damaged data, trailing garbage, truncation, or a ratio beyond `limits`."""
    check_layer_type(media_type)
    counter = _Counter(chunks)
    first, rest = _peek(counter)
    if media_type in PLAIN_TYPES:
        stream: Iterator[bytes] = rest
    elif first.startswith(_GZIP_MAGIC):
        stream = _inflate(rest, layer)
    elif first.startswith(_ZSTD_MAGIC) or (first[1:4] == _ZSTD_SKIPPABLE and first[0] & 0xF0 == 0x50):
        stream = _unzstd(rest, layer)
    else:
        stream = rest
    total = 0
    for data in stream:
        total += len(data)
        if total > limits.uncompressed_bytes:
            raise InputError(f"layer {layer}: larger than {limits.uncompressed_bytes} bytes when uncompressed", code="LayerTooLarge")
        if total > limits.ratio_free_bytes and total > limits.ratio * counter.bytes_read:
            raise InputError(
                f"layer {layer}: {counter.bytes_read} bytes unpack to more than {limits.ratio} times as many", code="CompressionRatio"
            )
        yield data


class _Counter:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.bytes_read += len(chunk)
        return chunk


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= _PEEK_BYTES:
            break
    return first, _split(first, chunks)


def _split(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chain((first,), chunks):
        yield from _pieces(chunk)


def _pieces(chunk: bytes) -> Iterator[bytes]:
    if len(chunk) <= CHUNK_BYTES:
        if chunk:
            yield chunk
        return
    for start in range(0, len(chunk), CHUNK_BYTES):
        yield chunk[start : start + CHUNK_BYTES]


def _inflate(chunks: Iterator[bytes], layer: str) -> Iterator[bytes]:
    try:
        yield from inflate(chunks)
    except DamagedGzip as error:
        raise InputError(f"layer {layer}: damaged gzip data: {error}", code="Gzip") from None
    except TruncatedGzip:
        raise InputError(f"layer {layer}: gzip data ends too early", code="Truncated") from None


def _unzstd(chunks: Iterator[bytes], layer: str) -> Iterator[bytes]:
    """Zstandard and skippable frames one after the other (RFC 8878 §3.1)."""
    frame = _zstd_frame()
    started = False
    for chunk in chunks:
        data = chunk
        while data or not frame.needs_input:
            started = True
            try:
                out = frame.decompress(data, CHUNK_BYTES)
            except zstd.ZstdError as error:
                raise InputError(f"layer {layer}: damaged zstd data: {error}", code="Zstd") from None
            if out:
                yield out
            if frame.eof:
                data, frame, started = frame.unused_data, _zstd_frame(), False
            else:
                data = b""
    if started:
        raise InputError(f"layer {layer}: zstd data ends too early", code="Truncated")


def _zstd_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
