"""A directory is read as it is, whatever somebody put into it to hurt the reader."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from intact.adapters.layout.directory import walk_directory
from intact.ingest.tree import ingest_tree
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError


def read(path: Path) -> dict[bytes, Entry]:
    found = list(walk_directory(str(path)))
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
    directory = root
    for _ in range(700):
        os.mkdir("d", dir_fd=directory)
        directory = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(root)
        root = directory
    with os.fdopen(os.open(b"\xff\n", os.O_WRONLY | os.O_CREAT, dir_fd=directory), "wb") as file:
        file.write(b"deep")
    os.close(directory)
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
