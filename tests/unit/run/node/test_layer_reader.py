"""Read-only layers are read once for all containers, again when something touched them, and again when a day is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.container import Container, Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.encoding import seal
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Form, Record
from intact.model.observation import Unobserved
from intact.observe.settled import Settled
from intact.run.node.layer_memory import LayerMemory
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

    def read(
        self, running: Running, directory: bytes, algorithms: Algorithms, settled: Settled | None = None
    ) -> Iterator[Record | Unobserved]:
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
    def fail(running: Running, directory: bytes, algorithms: Algorithms, settled: Settled | None = None) -> Iterator[Record | Unobserved]:
        raise InputError("no such directory")
        yield

    reader = LayerReader(fail, lambda: disk.now)
    found = read(reader)
    assert found.differences == () and "no such directory" in found.unobserved[0].reason
    reader.close()


class Changes(Disk):
    """Reads only what may have changed, where it is told since when."""

    def __init__(self) -> None:
        super().__init__()
        self.since: list[float | None] = []

    def look(
        self, running: Running, directory: bytes, algorithms: Algorithms, settled: Settled | None = None
    ) -> Iterator[Record | Unobserved]:
        self.since.append(settled.verified_at if settled else None)
        return self.read(running, directory, algorithms)


def test_of_a_layer_that_was_touched_only_the_changes_are_read(tmp_path: Path) -> None:
    disk = Changes()
    reader = LayerReader(disk.look, lambda: disk.now)
    first = read(reader)
    disk.now += 100
    reader.touch(b"/layers/1")
    assert read(reader).at == first.at, "it is read in full again a day after it was"
    assert disk.since == [None, first.at]
    reader.close()


def test_a_layer_that_differed_is_read_in_full_when_it_is_touched() -> None:
    disk = Changes()
    reader = LayerReader(disk.look, lambda: disk.now)
    removed = disk.records.pop()
    assert read(reader).differences
    disk.records.append(removed)
    reader.touch(b"/layers/1")
    assert not read(reader).differences and disk.since == [None, None]
    reader.close()


def test_what_was_read_before_a_restart_need_not_be_read_again_for_a_day(tmp_path: Path) -> None:
    disk = Changes()
    started = disk.now
    for later, since in ((0, None), (1000, started), (EVERY_S + 2000, None)):
        disk.now = started + later
        reader = LayerReader(disk.look, lambda: disk.now, LayerMemory(tmp_path / "layers.json"))
        assert read(reader).at == (disk.now if since is None else since)
        assert disk.since[-1] == since
        reader.close()


def test_a_layer_that_differed_before_a_restart_is_read_in_full_after_it(tmp_path: Path) -> None:
    disk = Changes()
    for records in (RECORDS, RECORDS[:1], RECORDS):
        disk.records = list(records)
        reader = LayerReader(disk.look, lambda: disk.now, LayerMemory(tmp_path / "layers.json"))
        assert bool(read(reader).differences) == (records != RECORDS)
        reader.close()
    assert disk.since == [None, 1000.0, None]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 2, "layers": []}', b'{"version": 1, "layers": [["a"]]}', b"\xff" * 100])
def test_a_memory_that_is_damaged_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layers.json").write_bytes(content)
    memory = LayerMemory(tmp_path / "layers.json")
    assert memory.find(b"/layers/1", str(TABLE.root), 1000.0) is None
    memory.note(b"/layers/\xff", "root", 1000.0)
    assert LayerMemory(tmp_path / "layers.json").find(b"/layers/\xff", "root", 1500.0) == 1000.0
    assert LayerMemory(tmp_path / "layers.json").find(b"/layers/\xff", "root", 999.0) is None, "the clock went back"
