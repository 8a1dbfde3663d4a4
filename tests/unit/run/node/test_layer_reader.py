"""Read-only layers are read once for all containers, again when something touched them, and again when a day is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from intact.model.container import Container, Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.encoding import seal
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Form, Record
from intact.model.observation import Unobserved
from intact.run.node.layer_reader import EVERY_S, LayerReader, Reading

RECORDS = [
    Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755), implicit=True),
    Record(path=b"/a", entry=Entry(path=b"/a", kind=Kind.FILE, mode=0o644, digest=Digest.of(b""))),
]
TABLE = seal(Digest.of(b"layer"), Form.BASE, RECORDS)
RUNNING = Running(container=Container(id="c", name="c", image="i", image_key=None, node="n"), init_pid=1, mounted=None, unobservable="fake")


class Disk:
    """A layer on disk that counts how often it is read."""

    def __init__(self) -> None:
        self.records: list[Record] = list(RECORDS)
        self.reads = 0
        self.now = 1000.0
        self.gate = threading.Event()
        self.gate.set()

    def read(self, running: Running, directory: bytes, algorithms: Algorithms) -> Iterator[Record | Unobserved]:
        assert algorithms == SHA256
        self.reads += 1
        records = list(self.records)
        assert self.gate.wait(10)
        yield from records


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def reader(disk: Disk) -> Iterator[LayerReader]:
    reader = LayerReader(disk.read, lambda: disk.now)
    yield reader
    reader.close()


def read(reader: LayerReader) -> Reading:
    answers: queue.SimpleQueue[Reading | BaseException] = queue.SimpleQueue()
    reader.submit(RUNNING, [(b"/layers/1", TABLE)], answers.put)
    found = answers.get(timeout=10)
    assert isinstance(found, Reading)
    return found


def test_a_layer_is_read_once_for_all_containers_until_something_touches_it(reader: LayerReader, disk: Disk) -> None:
    assert read(reader).differences == ()
    assert read(reader).differences == () and disk.reads == 1
    disk.records.pop()
    reader.touch(b"/layers/1")
    assert [d.path for d in read(reader).differences] == [b"/a"]


def test_a_touch_while_a_layer_is_read_makes_that_reading_count_for_nothing_afterwards(reader: LayerReader, disk: Disk) -> None:
    disk.gate.clear()
    answers: queue.SimpleQueue[Reading | BaseException] = queue.SimpleQueue()
    reader.submit(RUNNING, [(b"/layers/1", TABLE)], answers.put)
    while disk.reads == 0:
        threading.Event().wait(0.01)
    disk.records.pop()
    reader.touch(b"/layers/1")
    disk.gate.set()
    answers.get(timeout=10)
    assert [d.path for d in read(reader).differences] == [b"/a"]


def test_a_layer_is_read_again_after_a_day(reader: LayerReader, disk: Disk) -> None:
    first = read(reader)
    disk.now += EVERY_S - 1
    assert read(reader).at == first.at
    disk.now += 1
    assert read(reader).at == disk.now and disk.reads == 2


def test_a_layer_that_cannot_be_read_is_unobserved_and_tried_again(disk: Disk) -> None:
    def fail(running: Running, directory: bytes, algorithms: Algorithms) -> Iterator[Record | Unobserved]:
        raise InputError("no such directory")
        yield

    reader = LayerReader(fail, lambda: disk.now)
    found = read(reader)
    assert found.differences == () and "no such directory" in found.unobserved[0].reason
    reader.close()
