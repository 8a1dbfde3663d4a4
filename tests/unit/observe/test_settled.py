"""What was verified before and did not change since is not read again; whatever else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare_layer
from intact.model.digest import Digest
from intact.model.finding import Difference
from intact.model.layer import MemoryTable, Record
from intact.observe.layers import read_layer
from intact.observe.settled import MARGIN_S, Settled, SettledTree

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    layer = tmp_path / "layer"
    layer.mkdir()
    for name in ("a", "b"):
        (layer / name).write_bytes(name.encode() * 100)
    return layer


def table_of(layer: Path) -> MemoryTable:
    with HostTree(os.fsencode(layer)) as tree:
        return MemoryTable(Digest.of(b"l"), Digest.of(b"d"), tuple(r for r in read_layer(tree) if isinstance(r, Record)))


def look(layer: Path, table: MemoryTable, verified_at: float) -> tuple[list[Difference], int]:
    """What differs, and how many bytes were read to find that."""
    read_bytes = 0

    def count(size_bytes: int) -> None:
        nonlocal read_bytes
        read_bytes += size_bytes

    with HostTree(os.fsencode(layer), pace=count) as tree:
        return list(compare_layer(table, read_layer(SettledTree(tree, Settled(table, verified_at))))), read_bytes


def test_what_did_not_change_since_is_not_read(layer: Path) -> None:
    table = table_of(layer)
    assert look(layer, table, time.time() + MARGIN_S + 1) == ([], 0)


def test_what_changed_around_the_last_reading_is_read(layer: Path) -> None:
    table = table_of(layer)
    assert look(layer, table, time.time()) == ([], 200)


def test_a_change_that_keeps_size_and_time_is_found(layer: Path) -> None:
    """Not by its modification time, which anybody sets. The clock of the last reading is set back instead of waiting."""
    table, about = table_of(layer), (layer / "a").stat()
    changed_at = about.st_ctime + 2 * MARGIN_S
    (layer / "a").write_bytes(b"x" * 100)
    os.utime(layer / "a", ns=(about.st_atime_ns, about.st_mtime_ns))
    found, read_bytes = look(layer, table, min(changed_at, (layer / "a").stat().st_ctime + MARGIN_S / 2))
    assert ([d.path for d in found], read_bytes) == ([b"/a"], 200)


def test_another_size_or_kind_and_what_is_new_or_gone_is_found_whatever_the_time(layer: Path) -> None:
    table = table_of(layer)
    (layer / "a").write_bytes(b"shorter")
    (layer / "b").unlink()
    (layer / "c").write_bytes(b"new")
    found, _ = look(layer, table, time.time() + 3600)
    assert sorted((d.path, d.change.value) for d in found) == [(b"/a", "Modified"), (b"/b", "Deleted"), (b"/c", "Added")]
