"""Small causes with large effects: what a container or an image can make Intact compute or keep, and what that may cost."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pytest

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
        self.diff_id, self.root, self.form, self.asked = NOTHING, NOTHING, Form.PLAIN, 0

    def __len__(self) -> int:
        return len(self._table)

    def find(self, path: bytes) -> Record | None:
        self.asked += 1
        return self._table.find(path)

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        return self._table.scan(prefix)


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
