"""Read-only layers are read once for all containers, what is executed first; again when something touched them, and when a day is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.model.container import Container, Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.encoding import seal
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Form, Record, complete_parents
from intact.model.observation import Unobserved
from intact.observe.settled import Settled
from intact.run.node.layer_memory import LayerMemory
from intact.run.node.layer_reader import EVERY_S, LayerReader, Reading
from tests.unit.run.node.fakes import Eyes
from tests.unit.trees import file

RECORDS = [
    Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755), implicit=True),
    Record(path=b"/a", entry=Entry(path=b"/a", kind=Kind.FILE, mode=0o644, digest=Digest.of(b""))),
]
TABLE = seal(Digest.of(b"layer"), Form.BASE, RECORDS)
RUNNING = Running(container=Container(id="c", name="c", image="i", image_key=None, node="n"), init_pid=1, mounted=None, unobservable="fake")


class Disk(Eyes):
    """A layer on disk that counts how often it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = list(RECORDS)
        self.reads = 0
        self.now = 1000.0
        self.gate = threading.Event()
        self.gate.set()

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
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
    reader = LayerReader(disk, lambda: disk.now)
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
    class Gone(Disk):
        def read_layer(self, *_: object) -> Iterator[Record | Unobserved]:
            raise InputError("no such directory")

    reader = LayerReader(Gone(), lambda: disk.now)
    found = read(reader)
    assert found.differences == () and "no such directory" in found.unobserved[0].reason
    reader.close()


class Changes(Disk):
    """Reads only what may have changed, where it is told since when."""

    def __init__(self) -> None:
        super().__init__()
        self.since: list[float | None] = []

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
    ) -> Iterator[Record | Unobserved]:
        self.since.append(settled.verified_at if isinstance(settled, Settled) else None)
        return super().read_layer(running, directory, algorithms)


def test_of_a_layer_that_was_touched_only_the_changes_are_read(tmp_path: Path) -> None:
    disk = Changes()
    reader = LayerReader(disk, lambda: disk.now)
    first = read(reader)
    disk.now += 100
    reader.touch(b"/layers/1")
    assert read(reader).at == first.at, "it is read in full again a day after it was"
    assert disk.since == [None, first.at]
    reader.close()


def test_a_layer_that_differed_is_read_in_full_when_it_is_touched() -> None:
    disk = Changes()
    reader = LayerReader(disk, lambda: disk.now)
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
        reader = LayerReader(disk, lambda: disk.now, LayerMemory(tmp_path / "layers.json"))
        assert read(reader).at == (disk.now if since is None else since)
        assert disk.since[-1] == since
        reader.close()


def test_a_layer_that_differed_before_a_restart_is_read_in_full_after_it(tmp_path: Path) -> None:
    disk = Changes()
    for records in (RECORDS, RECORDS[:1], RECORDS):
        disk.records = list(records)
        reader = LayerReader(disk, lambda: disk.now, LayerMemory(tmp_path / "layers.json"))
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


PROGRAM, LIBRARY, DATA = (file(path, path * 10) for path in (b"/bin/app", b"/lib/lib.so", b"/srv/data"))
UPPER, LOWER = (
    seal(Digest.of(b"%d" % rank), Form.PLAIN, complete_parents({one.path: Record(path=one.path, entry=one) for one in files}))
    for rank, files in enumerate(((PROGRAM,), (LIBRARY, DATA)))
)
SIZE_BYTES = PROGRAM.size_bytes + LIBRARY.size_bytes + DATA.size_bytes


class Layers(Eyes):
    """Two layers on disk, as their tables say but for what is `changed`; notes what is read, and can be held up at a path."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = {b"/layers/2": UPPER, b"/layers/1": LOWER}
        self.executed = frozenset({PROGRAM.path, LIBRARY.path, b"/not/of/the/image"})
        self.changed: frozenset[bytes] = frozenset()
        self.unread: frozenset[bytes] = frozenset()
        self.read: list[tuple[str, bytes]] = []
        self.held_up, self.is_there, self.go_on = b"", threading.Event(), threading.Event()

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
    ) -> Iterator[Record | Unobserved]:
        for record in self.tables[directory].scan():
            if record.path == self.held_up:
                self.is_there.set()
                assert self.go_on.wait(60)
            yield from self._read(running, record)

    def read_files(
        self, running: Running, directory: bytes, paths: frozenset[bytes], algorithms: Algorithms = SHA256, settled: object = None
    ) -> list[Record | Unobserved]:
        records = [record for record in self.tables[directory].scan() if record.path in paths]
        return [found for record in records for found in self._read(running, record)]

    def list_executed(self, running: Running) -> frozenset[bytes]:
        return self.executed

    def _read(self, running: Running, record: Record) -> Iterator[Record | Unobserved]:
        entry = record.entry
        assert entry is not None
        if entry.kind is Kind.FILE:
            self.read.append((running.container.id, entry.path))
        if entry.path in self.unread:
            yield Unobserved(path=entry.path, reason="Input/output error")
            entry = replace(entry, digest=None)
        elif entry.path in self.changed:
            entry = replace(entry, digest=Digest.of(b"evil"))
        yield replace(record, entry=entry)


class Reader:
    """A layer reader over `Layers`, and what it says."""

    def __init__(self) -> None:
        self.layers, self.now = Layers(), 1000.0
        self.reader = LayerReader(self.layers, lambda: self.now)
        self.said: queue.SimpleQueue[Reading | BaseException] = queue.SimpleQueue()

    def submit(self, id: str) -> None:
        running = replace(RUNNING, container=replace(RUNNING.container, id=id))
        self.reader.submit(running, self.layers.tables.items(), self.said.put)

    def hear(self) -> Reading:
        found = self.said.get(timeout=60)
        assert isinstance(found, Reading)
        return found

    def left(self) -> int | None:
        return self.reader.count_unverified(self.layers.tables.items())


@pytest.fixture
def two() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.layers.go_on.set()
    reader.reader.close()


def test_what_is_executed_is_read_first_and_nothing_is_left_to_verify_in_the_end(two: Reader) -> None:
    assert two.left() is None, "nobody knows"
    two.layers.held_up = b"/bin"
    two.submit("a")
    assert two.layers.is_there.wait(60)
    assert {path for _, path in two.layers.read} == {PROGRAM.path, LIBRARY.path}
    assert two.left() == DATA.size_bytes
    two.layers.go_on.set()
    assert two.hear().paths is None
    assert two.left() == 0
    two.reader.touch(b"/layers/1")
    assert two.left() == LIBRARY.size_bytes + DATA.size_bytes, "nobody knows what became of it"
    two.submit("a")
    assert two.hear().differences == () and two.left() == 0
    two.now += EVERY_S
    assert two.left() == SIZE_BYTES, "a day is over"


def test_what_another_container_executes_does_not_wait_for_the_rest_of_the_first(two: Reader) -> None:
    two.layers.executed = frozenset()
    two.layers.held_up = LIBRARY.path
    two.submit("large")
    assert two.layers.is_there.wait(60)
    two.layers.executed = frozenset({DATA.path})
    two.submit("other")
    two.layers.go_on.set()
    two.hear()
    assert two.layers.read == [("large", PROGRAM.path), ("large", LIBRARY.path), ("other", DATA.path), ("large", DATA.path)]


def test_a_program_that_differs_is_told_before_the_rest_is_read(two: Reader) -> None:
    two.layers.changed = frozenset({LIBRARY.path, DATA.path})
    two.layers.held_up = b"/bin"
    two.submit("a")
    first = two.hear()
    assert [difference.path for difference in first.differences] == [LIBRARY.path]
    assert first.paths == frozenset({PROGRAM.path, LIBRARY.path})
    two.layers.go_on.set()
    rest = two.hear()
    assert rest.paths is None and [difference.path for difference in rest.differences] == [LIBRARY.path, DATA.path]


def test_what_cannot_be_read_is_never_counted_as_verified(two: Reader) -> None:
    two.layers.unread = frozenset({LIBRARY.path, DATA.path})
    two.submit("a")
    assert {one.path for one in two.hear().differences} == {LIBRARY.path, DATA.path}
    assert two.left() == LIBRARY.size_bytes + DATA.size_bytes


def test_a_layer_that_is_being_read_is_given_up_at_the_end(disk: Disk) -> None:
    """It takes minutes at the usual rate, and the process would not end before."""
    is_read, go_on = threading.Event(), threading.Event()

    class Endless(Disk):
        def read_layer(
            self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
        ) -> Iterator[Record | Unobserved]:
            yield RECORDS[0]
            is_read.set()
            assert go_on.wait(60)
            for number in range(1 << 40):
                yield Unobserved(path=b"/%d" % number, reason="more of it")

    reader, answers = LayerReader(Endless(), lambda: disk.now), queue.SimpleQueue[Reading | BaseException]()
    reader.submit(RUNNING, [(b"/layers/1", TABLE)], answers.put)
    assert is_read.wait(60)
    reader.close()
    go_on.set()
    (worker,) = reader._worker._threads
    worker.join(60)
    assert not worker.is_alive() and answers.empty(), "nobody is told of half a layer"
