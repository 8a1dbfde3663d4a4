"""Request bodies: what fits comes out whole, and nothing costs more than its bound."""

from __future__ import annotations

import asyncio
import gzip
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from intact.model.errors import InputError
from intact.run.web.body import MAX_BODY_BYTES, MAX_WIRE_BYTES, read_body

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"id": "r1"}' * 1000
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "identity": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


def read(data: bytes, encoding: str, *, piece: int = 65536) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), piece):
            yield data[start : start + piece]
        yield b""

    return asyncio.run(read_body(chunks(), encoding))


@pytest.mark.parametrize("encoding", list(ENCODERS))
@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_a_body_comes_out_whole_however_it_is_cut(encoding: str, piece: int) -> None:
    assert read(ENCODERS[encoding](TEXT), encoding, piece=piece) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_at_the_bound_and_takes_no_more_memory(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(MAX_BODY_BYTES * 8))
    assert len(bomb) < MAX_WIRE_BYTES
    tracemalloc.start()
    with pytest.raises(InputError) as refusal:
        read(bomb, encoding)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal.value.code == "Oversize"
    assert peak < 3 * MAX_BODY_BYTES


def test_too_much_on_the_wire_is_refused_whatever_it_is() -> None:
    with pytest.raises(InputError) as refusal:
        read(bytes(MAX_WIRE_BYTES + 1), "")
    assert refusal.value.code == "Oversize"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("spoil", [lambda d: d[:-3], lambda d: d + b"x", lambda d: d + d, lambda d: b"nothing of the kind", lambda d: b""])
def test_a_spoilt_encoding_is_refused(encoding: str, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError) as refusal:
        read(spoil(ENCODERS[encoding](TEXT)), encoding)
    assert refusal.value.code == "BadEncoding"


def test_a_window_larger_than_the_bound_is_refused() -> None:
    wide = zstd.compress(bytes(range(256)) * 200_000, options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(InputError):
        read(wide, "zstd")


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="br"):
        read(TEXT, "br")
