"""Layers fetched several at once: the same results in the same order as one by one, in bounded memory, and an end that ends everything."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from intact.ingest.ports import Descriptor
from intact.ingest.prefetch import HANDED_BYTES, HELD_BYTES, Prefetched
from intact.model.digest import Digest
from intact.model.errors import InputError, TemporaryError

CHUNK = b"x" * (HANDED_BYTES // 4)


class Source:
    """Blobs of any length, made as they are read. A length of -1: there is none; -2: it breaks off."""

    name = "test"

    def __init__(self, *lengths: int) -> None:
        self.descriptors = [Descriptor(media_type="x", digest=Digest.of(bytes([n])), size_bytes=length) for n, length in enumerate(lengths)]
        self.read = [0] * len(lengths)
        self.open_now = self.most_open = 0
        self.lock = threading.Lock()

    def root(self) -> Descriptor:
        return self.descriptors[0]

    def aliases(self) -> tuple[str, ...]:
        return ()

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        index = self.descriptors.index(descriptor)
        if descriptor.size_bytes == -1:
            raise InputError("not there", code="BlobUnknown")
        with self.lock:
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        try:
            yield self._chunks(index, descriptor.size_bytes or 0)
        finally:
            with self.lock:
                self.open_now -= 1

    def _chunks(self, index: int, length: int) -> Iterator[bytes]:
        if length == -2:
            yield b"begun"
            raise TemporaryError("broke off")
        while self.read[index] < length:
            part = CHUNK[: length - self.read[index]]
            self.read[index] += len(part)
            yield part


def read_all(source: Source, workers: int) -> list[int]:
    with Prefetched(source, source.descriptors, workers) as blobs:
        found = []
        for descriptor in source.descriptors:
            with blobs.open(descriptor) as chunks:
                found.append(sum(len(chunk) for chunk in chunks))
        return found


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_every_blob_comes_whole_and_in_order(workers: int) -> None:
    lengths = (0, 1, 3 * HELD_BYTES, 5, HELD_BYTES)
    source = Source(*lengths)
    assert tuple(read_all(source, workers)) == lengths
    assert source.most_open <= workers
    assert source.open_now == 0


def test_what_nobody_reads_yet_is_held_only_up_to_a_bound() -> None:
    source = Source(10, *[100 * HELD_BYTES] * 5)
    reached = threading.Event()
    with Prefetched(source, source.descriptors, 3) as blobs, blobs.open(source.descriptors[0]) as chunks:
        assert sum(map(len, chunks)) == 10
        while not reached.wait(0.01):
            if min(source.read[1:3]) >= HELD_BYTES:
                reached.set()
    assert max(source.read) <= HELD_BYTES + 2 * HANDED_BYTES
    assert source.read[3:] == [0, 0, 0]
    assert source.open_now == 0, "leaving ends what is still being fetched"


def test_an_error_comes_where_its_blob_is_read_and_not_before() -> None:
    source = Source(10, -1, 20)
    with Prefetched(source, source.descriptors, 3) as blobs:
        with blobs.open(source.descriptors[0]) as chunks:
            assert sum(map(len, chunks)) == 10
        with pytest.raises(InputError, match="not there"), blobs.open(source.descriptors[1]) as chunks:
            list(chunks)


def test_what_broke_off_is_never_taken_for_whole() -> None:
    source = Source(-2, 10)
    with (
        Prefetched(source, source.descriptors, 2) as blobs,
        pytest.raises(TemporaryError, match="broke off"),
        blobs.open(source.descriptors[0]) as chunks,
    ):
        list(chunks)
