"""Layers come out of gzip, zstd and plain blobs as containerd would take them out, and never more than the bounds allow."""

import gzip
import sys

import pytest

from intact.ingest.compression import decompress
from intact.ingest.gzip import CHUNK_BYTES
from intact.ingest.limits import Limits
from intact.model.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
DATA = bytes(range(256)) * 20_000


def unpack(data: bytes, media_type: str, *, step: int = 7000, limits: Limits | None = None) -> bytes:
    chunks = [data[at : at + step] for at in range(0, len(data), step)]
    parts = list(decompress(chunks, media_type, limits=limits or Limits(), layer="L"))
    assert all(len(part) <= CHUNK_BYTES for part in parts)
    return b"".join(parts)


GZIP, ZSTD = gzip.compress(DATA), zstd.compress(DATA)


@pytest.mark.parametrize("step", [1, 9, 70_000, 10_000_000])
@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (GZIP, OCI + "+gzip"),
        (ZSTD, OCI + "+zstd"),
        (DATA, OCI),
        (GZIP, DOCKER + ".gzip"),
        (GZIP, DOCKER),
        (ZSTD, DOCKER),
        (DATA, DOCKER),
        (ZSTD, OCI + "+gzip"),
        (GZIP + gzip.compress(b"") + GZIP, OCI + "+gzip"),
        (ZSTD + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + ZSTD, OCI + "+zstd"),
    ],
)
def test_layers_unpack_by_type_and_first_bytes(data: bytes, media_type: str, step: int) -> None:
    if step == 1 and len(data) > 100_000:  # quick enough, and still no multiple of anything
        step = 3
    assert unpack(data, media_type, step=step) in (DATA, DATA + DATA)


def test_an_empty_blob_is_an_empty_layer() -> None:
    assert unpack(b"", DOCKER) == unpack(b"", OCI + "+gzip") == b""


def test_an_oci_layer_without_a_suffix_is_never_decompressed() -> None:
    assert unpack(GZIP, OCI) == GZIP


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GZIP[:-1], "too early"),
        (GZIP[: len(GZIP) // 2], "too early"),
        (GZIP + b"garbage that follows", "damaged"),
        (GZIP[:2000] + b"\x00\xff" + GZIP[2002:], "damaged"),
        (ZSTD[:-1], "too early"),
        (ZSTD + b"garbage", "damaged"),
    ],
)
def test_damaged_data_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        unpack(data, OCI + "+gzip")


def test_a_bomb_is_stopped_at_the_bounds() -> None:
    bomb = zstd.compress(bytes(64 << 20))
    with pytest.raises(InputError, match="times as many"):
        unpack(bomb, OCI + "+zstd", limits=Limits(ratio_free_bytes=1 << 20))
    with pytest.raises(InputError, match="larger than"):
        unpack(bomb, OCI + "+zstd", limits=Limits(uncompressed_bytes=1 << 20))
