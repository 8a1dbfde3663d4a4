"""A directory is read as it is, whatever somebody put into it to hurt the reader."""

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from intact.adapters.layout import directory, sharing
from intact.adapters.layout.directory import walk_directory
from intact.adapters.layout.helper import Helper
from intact.adapters.layout.reading import Batch, DirectoryReader
from intact.ingest.tree import ingest_tree
from intact.model.digest import Algorithms, Digest
from intact.model.encoding import decode_record
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError, PermanentError


def read(path: Path) -> dict[bytes, Entry]:
    records = [decode_record(record) for record in walk_directory(str(path))]
    found = [record.entry for record in records if record.entry is not None]
    assert len({entry.path for entry in found}) == len(found)
    return {entry.path: entry for entry in found}


def test_every_kind_is_told_and_only_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 300_000)
    (tmp_path / "file").chmod(0o4750)
    (tmp_path / "dir").mkdir(mode=0o711)
    (tmp_path / "link").symlink_to("/etc/shadow")
    (tmp_path / "dirlink").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    found = read(tmp_path)
    assert {path: entry.kind for path, entry in found.items()} == {
        b"/": Kind.DIRECTORY,
        b"/file": Kind.FILE,
        b"/dir": Kind.DIRECTORY,
        b"/link": Kind.SYMLINK,
        b"/dirlink": Kind.SYMLINK,
        b"/fifo": Kind.FIFO,
        b"/socket": Kind.SOCKET,
    }
    assert found[b"/link"].target == b"/etc/shadow"
    file = found[b"/file"]
    assert (file.mode, file.size_bytes) == (0o4750, 300_000)
    assert file.digest is not None
    assert file.digest.value == hashlib.sha256(b"x" * 300_000).digest()


def test_a_huge_sparse_file_costs_its_data_and_hashes_as_if_read(tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(size // 2)
        file.write(b"middle")
        file.truncate(size)
    digest = read(tmp_path)[b"/sparse"].digest
    assert digest is not None
    with (tmp_path / "sparse").open("rb") as file:
        assert digest.value == hashlib.file_digest(file, "sha256").digest()


def test_deep_trees_and_odd_names_are_read(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    for _ in range(700):
        os.mkdir("d", dir_fd=root)
        below = os.open("d", os.O_RDONLY, dir_fd=root)
        os.close(root)
        root = below
    with os.fdopen(os.open(b"\xff\n", os.O_WRONLY | os.O_CREAT, dir_fd=root), "wb") as file:
        file.write(b"deep")
    os.close(root)
    assert b"/d" * 700 + b"/\xff\n" in read(tmp_path)


def test_what_is_too_deep_is_said_not_dropped(tmp_path: Path) -> None:
    handles = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(25):
        os.mkdir("n" * 200, dir_fd=handles[-1])
        handles.append(os.open("n" * 200, os.O_RDONLY, dir_fd=handles[-1]))
    for handle in handles:
        os.close(handle)
    with pytest.raises(InputError, match="more than 4096"):
        read(tmp_path)
    told: list[bytes] = []
    list(walk_directory(str(tmp_path), unreadable=lambda path, _: told.append(path)))
    assert len(told) == 1


def test_extended_attributes_that_belong_to_a_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    try:
        os.setxattr(tmp_path / "file", "user.note", b"\0kept")
        os.setxattr(tmp_path / "file", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"this file system has no extended attributes: {error}")
    assert read(tmp_path)[b"/file"].xattrs == ((b"user.note", b"\0kept"),)


def test_the_same_tree_has_the_same_root_and_another_has_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    one = ingest_tree(walk_directory(str(tmp_path)), source="dir:x")
    assert ingest_tree(walk_directory(str(tmp_path)), source="dir:y").root == one.root
    (tmp_path / "a").chmod(0o600)
    assert ingest_tree(walk_directory(str(tmp_path)), source="dir:x").root != one.root


def test_no_directory_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "missing")


def plant(root: Path, *, directories: int = 40, files: int = 5) -> None:
    for number in range(directories):
        directory = root / f"{number % 4}" / f"{number}"
        directory.mkdir(parents=True)
        for name in range(files):
            (directory / f"{name}").write_bytes(b"%d %d" % (number, name) * 100)


def children() -> set[int]:
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, mine.split()))


class Lazy(DirectoryReader):
    """Leaves all the reading to the helpers."""

    def read(self, directories: list[bytes]) -> Batch:
        time.sleep(0.01)
        return Batch(rest=directories)


@pytest.fixture
def by_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "ALONE_ENTRIES", 0)
    monkeypatch.setattr(directory, "DirectoryReader", Lazy)


@pytest.mark.parametrize("names", [("sha256",), ("blake3", "md5"), ("belt-hash",)], ids=" ".join)
def test_however_many_processes_read_the_records_are_the_same(
    tmp_path: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path)
    algorithms = Algorithms.choose(names)
    alone = sorted(walk_directory(str(tmp_path), algorithms=algorithms, processes=1))
    before = children()
    monkeypatch.setattr(directory, "ALONE_ENTRIES", 0)
    assert sorted(walk_directory(str(tmp_path), algorithms=algorithms, processes=2)) == alone
    monkeypatch.setattr(directory, "DirectoryReader", Lazy)
    assert sorted(walk_directory(str(tmp_path), algorithms=algorithms, processes=3)) == alone
    assert children() == before
    assert len(alone) == 1 + 4 + 40 + 40 * 5


@pytest.mark.usefixtures("by_helpers")
def test_a_walk_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    plant(tmp_path)
    before = children()
    walk = walk_directory(str(tmp_path), processes=3)
    for _ in range(3):
        next(walk)
    assert len(children() - before) == 2
    walk.close()  # type: ignore[attr-defined]
    assert children() == before


class Dying(Helper):
    def read(self, directories: list[bytes]) -> Batch:
        self.kill()
        return super().read(directories)


@pytest.mark.usefixtures("by_helpers")
def test_a_process_that_dies_is_an_error_and_never_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path)
    monkeypatch.setattr(sharing, "Helper", Dying)
    before = children()
    with pytest.raises(PermanentError, match="ended"):
        list(walk_directory(str(tmp_path), processes=2))
    assert children() == before


@pytest.mark.usefixtures("by_helpers")
def test_what_a_helper_cannot_read_is_said_as_what_one_reads_alone(tmp_path: Path) -> None:
    plant(tmp_path, directories=3)
    fd = os.open(tmp_path / "0", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("n" * 200, dir_fd=fd)
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(InputError, match="more than 4096"):
        list(walk_directory(str(tmp_path), processes=2))


def test_a_sparse_file_may_end_in_a_hole_or_be_one(tmp_path: Path) -> None:
    for name, start, end in ((b"all", 0, 3 << 20), (b"tail", 300_000, 3 << 20), (b"small", 0, 1000)):
        with (tmp_path / os.fsdecode(name)).open("wb") as file:
            file.write(b"x" * start)
            file.truncate(end)
        found = read(tmp_path)[b"/" + name]
        assert found.digest == Digest.of(b"x" * start + bytes(end - start))
        assert found.size_bytes == end
