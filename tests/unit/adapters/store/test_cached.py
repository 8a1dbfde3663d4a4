"""Files of tables: mapped, compared, and known to have been written to, whatever their times are set to afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.store import cached
from intact.adapters.store.cached import MARK_EVERY_S, TableCache, is_same, map_file, open_table_file
from intact.model.digest import Digest

ROOT = Digest.of(b"root")


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")


def write_and_hide(path: Path) -> None:
    """As somebody would who can do what any owner of a file can."""
    before = path.stat()
    write(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def tell(path: Path) -> bytes:
    file = open_table_file(path)
    assert file is not None and file.state is not None
    return file.state


def change(path: Path, what: Callable[[Path], None]) -> None:
    """Until the kernel's clock has moved on."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        what(path)


@pytest.mark.parametrize("what", [write, write_and_hide, replace], ids=lambda what: what.__name__)
def test_whoever_writes_changes_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[Path], None]) -> None:
    monkeypatch.setattr(cached, "SETTLED_NS", 0)
    path = tmp_path / "table"
    path.write_bytes(b"table")
    before = tell(path)
    assert tell(path) == before, "reading is no change"
    change(path, what)
    assert tell(path) != before


def test_what_was_written_just_now_has_no_state_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "SETTLED_NS", 3600 * 1_000_000_000)
    path = tmp_path / "table"
    path.write_bytes(b"table")
    os.utime(path, (0, 0))
    file = open_table_file(path)
    assert file is not None
    assert (bytes(file.data), file.state) == (b"table", None), "another write within the same tick would not be seen"


def test_a_file_that_is_empty_or_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    empty = map_file(tmp_path / "empty")
    assert empty is not None and len(empty) == 0
    assert map_file(tmp_path / "missing") is None


def test_opening_a_copy_again_and_again_leaves_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "SETTLED_NS", 0)
    cache = TableCache(tmp_path)
    cache.keep(ROOT, [b"table"])
    (path,) = tmp_path.iterdir()
    before = tell(path)
    for _ in range(3):
        assert cache.open(ROOT) is not None
    assert tell(path) == before
    long_ago = time.time() - 2 * MARK_EVERY_S
    os.utime(path, (long_ago, long_ago))
    assert cache.open(ROOT) is not None
    assert path.stat().st_mtime > long_ago + MARK_EVERY_S, "marked as used"


def test_the_copy_that_nobody_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = TableCache(tmp_path, max_bytes=10)
    roots = [Digest.of(b"%d" % number) for number in range(3)]
    for age, root in zip((3, 2), roots, strict=False):
        cache.keep(root, [b"1234"])
        long_ago = time.time() - age * MARK_EVERY_S
        for path in tmp_path.glob(f"*{root.hex}*"):
            os.utime(path, (long_ago, long_ago))
    assert cache.open(roots[0]) is not None
    cache.keep(roots[2], [b"1234"])
    assert [cache.open(root) is not None for root in roots] == [True, False, True]


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 8))
def test_comparing_by_pieces_is_comparing(one: bytes, other: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached, "_PIECE_BYTES", piece)
        assert is_same(memoryview(one), memoryview(other)) is (one == other)
        assert is_same(memoryview(one), memoryview(bytes(one)))
