"""Small causes with large effects: what a container or an image can make Intact compute or keep, and what that may cost."""

from __future__ import annotations

import contextlib
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.linux import places, syscalls
from intact.compare.judge import summarise_path
from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade, MemoryTable, Record, complete_parents

NOTHING = Digest.of(b"")


class Counted:
    """A table that counts how often it is asked."""

    def __init__(self, *paths: bytes) -> None:
        entries = {path: Record(path=path, entry=Entry(path=path, kind=Kind.FILE, mode=0o644)) for path in paths}
        self._table = MemoryTable(NOTHING, NOTHING, complete_parents(entries))
        self.diff_id, self.root, self.form, self.algorithms, self.asked = NOTHING, NOTHING, Form.PLAIN, None, 0

    def __len__(self) -> int:
        return len(self._table)

    def find(self, path: bytes) -> Record | None:
        self.asked += 1
        return self._table.find(path)

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        return self._table.scan(prefix)

    def paths(self) -> Iterator[bytes]:
        return self._table.paths()

    def release(self) -> None: ...


def test_a_deep_directory_costs_no_more_than_the_image_is_deep() -> None:
    """`mkdir -p a/a/a/…`, a thousand deep, once kept a node's agent busy for hours."""
    tables = [Counted(b"/srv/www/index.html") for _ in range(10)]
    baseline = Baseline(key=NOTHING, layers=tuple(tables), grade=Grade.FIRST_SEEN, source="test")
    deep = b"/srv/www" + b"/a" * 2000
    assert baseline.find(deep) is None
    assert summarise_path(deep, baseline) == "/srv/www/**"
    assert sum(table.asked for table in tables) < 100


def members(*names: str, kind: bytes = tarfile.REGTYPE, pax: dict[str, str] | None = None) -> Iterator[bytes]:
    for name in names:
        member = tarfile.TarInfo(name)
        member.type, member.pax_headers = kind, pax or {}
        yield member.tobuf(tarfile.PAX_FORMAT)
    yield bytes(1024)


def refused(chunks: Iterator[bytes], limits: Limits) -> str:
    with pytest.raises(InputError) as refusal:
        apply_members(read_members(chunks, limits=limits, layer="x"), base=True, limits=limits, layer="x")
    return refusal.value.code


def test_directories_that_a_layer_only_implies_are_bounded() -> None:
    """Five hundred members of 4 KiB each were a million records and 2.6 GiB of memory."""
    names = (f"{number}/{'a/' * 2000}f" for number in range(100))
    assert refused(members(*names), Limits(record_bytes=8 << 20)) == "TooLarge"


def test_attributes_of_all_members_together_are_bounded() -> None:
    names = (f"f{number}" for number in range(300))
    assert refused(members(*names, pax={"SCHILY.xattr.user.x": "v" * 60_000}), Limits(record_bytes=8 << 20)) == "TooLarge"


def test_opaque_marks_that_walk_the_same_directory_again_and_again_are_bounded() -> None:
    names = [*(f"f{number}" for number in range(1000)), *[".wh..wh..opq"] * 1000]
    assert refused(members(*names), Limits(steps=100_000)) == "TooLarge"


@pytest.mark.usefixtures("root")
def test_a_directory_5000_deep_is_found_in_a_few_strides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name by name, each event in it held the doorbell of the whole node up for seconds."""
    root = os.open(tmp_path, os.O_RDONLY)
    depth, levels = 5_000, [os.dup(root)]
    try:
        for _ in range(depth):
            os.mkdir("a", dir_fd=levels[-1])
            levels.append(os.open("a", os.O_RDONLY, dir_fd=levels[-1]))
            if len(levels) > 2:
                os.close(levels.pop(0))
        handle = syscalls.name_to_handle(levels[-1])
        opened: list[object] = []
        plain_open = os.open

        def count_and_open(*args: Any, **named: Any) -> int:
            opened.append(args)
            return plain_open(*args, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", count_and_open)
            path = places._resolve_through(root, handle, time.monotonic() + 30)
        assert path.startswith(os.fsencode(tmp_path) + b"/a/a/")
        assert path.endswith(b"/a/")
        assert len(path) >= 4090
        assert len(opened) < 50
        with pytest.raises(OSError, match="too deep"):
            places._resolve_through(root, handle, 0.0)
    finally:
        for descriptor in levels:
            os.close(descriptor)
        for _ in range(depth):  # from the top: each one's only child takes its place, so that nothing ever walks the depth
            inner = os.open("a", os.O_RDONLY, dir_fd=root)
            with contextlib.suppress(FileNotFoundError):
                os.rename("a", "b", src_dir_fd=inner, dst_dir_fd=root)
            os.close(inner)
            os.rmdir("a", dir_fd=root)
            if os.path.lexists(tmp_path / "b"):
                os.rename("b", "a", src_dir_fd=root, dst_dir_fd=root)
        os.close(root)
