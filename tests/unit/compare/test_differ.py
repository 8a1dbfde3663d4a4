"""What differs is named exactly; what is the same, or hidden, or unseen, is not made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from intact.compare.differ import compare, compare_layer
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference
from intact.model.layer import Record
from intact.model.observation import Scope, Unobserved
from tests.unit.trees import directory, file, image, layer, link, seen, table

TOOL = file(b"/opt/app/tool", b"#!tool", 0o755)
LINK = link(b"/opt/app/current", b"/opt/app/tool")
IMAGE = image(TOOL, LINK, directory(b"/opt/app/empty"), file(b"/opt/app/sub/deep/a"), file(b"/opt/app-data/b"))


def told(differences: tuple[Difference, ...]) -> list[tuple[bytes, str]]:
    return [(d.path, d.change.value) for d in differences]


def test_a_copied_up_file_with_the_same_content_and_metadata_is_no_difference() -> None:
    assert compare(IMAGE, seen(TOOL, LINK)) == ()


@pytest.mark.parametrize(
    ("change", "fields", "kind"),
    [
        (lambda e: replace(e, digest=file(b"/x", b"#!evil").digest), ("content",), Change.MODIFIED),
        (lambda e: replace(e, digest=None, size_bytes=7), ("content", "size"), Change.MODIFIED),
        (lambda e: replace(e, mode=0o4755), ("mode",), Change.METADATA),
        (lambda e: replace(e, uid=1, gid=2), ("uid", "gid"), Change.METADATA),
        (lambda e: replace(e, xattrs=((b"security.capability", b"\1"),)), ("xattrs",), Change.METADATA),
        (lambda e: replace(e, digest=None), ("unread",), Change.UNREAD),
        (lambda e: replace(e, digest=None, mode=0o700), ("mode", "unread"), Change.METADATA),
        (lambda e: Entry(path=e.path, kind=Kind.FIFO, mode=0o755), ("type",), Change.TYPE),
    ],
)
def test_each_field_of_a_file_is_compared_and_named(change: Callable[[Entry], Entry], fields: tuple[str, ...], kind: Change) -> None:
    (difference,) = compare(IMAGE, seen(change(TOOL)))
    assert (difference.change, difference.fields) == (kind, fields)
    assert difference.expected == TOOL


def test_the_mode_of_a_symlink_and_the_size_of_a_directory_mean_nothing() -> None:
    assert compare(IMAGE, seen(replace(LINK, mode=0o700), replace(directory(b"/opt/app/empty"), size_bytes=4096))) == ()
    assert told(compare(IMAGE, seen(replace(LINK, target=b"/tmp/evil")))) == [(b"/opt/app/current", "Modified")]


def test_a_whiteout_of_a_directory_removes_everything_the_image_has_below_it() -> None:
    assert told(compare(IMAGE, seen(absent=(b"/opt/app",)))) == [
        (b"/opt/app", "Deleted"),
        (b"/opt/app/current", "Deleted"),
        (b"/opt/app/empty", "Deleted"),
        (b"/opt/app/sub", "Deleted"),
        (b"/opt/app/sub/deep", "Deleted"),
        (b"/opt/app/sub/deep/a", "Deleted"),
        (b"/opt/app/tool", "Deleted"),
    ]


def test_a_whiteout_of_what_the_image_does_not_have_is_nothing() -> None:
    assert compare(IMAGE, seen(absent=(b"/tmp/gone", b"/opt/app/tool/below"))) == ()


def test_an_opaque_directory_hides_the_image_below_it_except_what_is_there_again() -> None:
    observed = seen(directory(b"/opt/app"), TOOL, file(b"/opt/app/new"), opaque=(b"/opt/app",))
    assert told(compare(IMAGE, observed)) == [
        (b"/opt/app/current", "Deleted"),
        (b"/opt/app/empty", "Deleted"),
        (b"/opt/app/new", "Added"),
        (b"/opt/app/sub", "Deleted"),
        (b"/opt/app/sub/deep", "Deleted"),
        (b"/opt/app/sub/deep/a", "Deleted"),
    ]


def test_a_directory_replaced_by_a_file_takes_what_was_below_with_it() -> None:
    observed = told(compare(IMAGE, seen(file(b"/opt/app/sub"))))
    assert observed == [(b"/opt/app/sub", "Type"), (b"/opt/app/sub/deep", "Deleted"), (b"/opt/app/sub/deep/a", "Deleted")]


@pytest.mark.parametrize("scope", [Scope.TREE, Scope.LAYERS])
def test_of_a_whole_tree_a_path_that_is_not_mentioned_is_gone(scope: Scope) -> None:
    present = (*(e for e in IMAGE.scan() if e.path != b"/opt/app/tool"), file(b"/zz"))
    assert told(compare(IMAGE, seen(*reversed(present), scope=scope))) == [(b"/opt/app/tool", "Deleted"), (b"/zz", "Added")]


def test_what_could_not_be_looked_at_is_never_called_deleted() -> None:
    blind = (Unobserved(path=b"/opt/app/sub", reason="permission denied"),)
    present = tuple(e for e in IMAGE.scan() if not e.path.startswith(b"/opt/app/sub"))
    assert compare(IMAGE, seen(*present, scope=Scope.TREE, unobserved=blind)) == ()
    opaque = seen(directory(b"/opt/app"), TOOL, LINK, directory(b"/opt/app/empty"), opaque=(b"/opt/app",), unobserved=blind)
    assert compare(IMAGE, opaque) == ()


INNER = replace(TOOL, path=b"/dir/tool")
LAYER = table(
    [
        Record(path=b"/a", entry=None),
        Record(path=b"/dir", entry=directory(b"/dir"), opaque=True),
        Record(path=b"/dir/tool", entry=INNER),
        Record(path=b"/made/by/tar/x", entry=file(b"/made/by/tar/x")),
    ]
)


def on_disk(*changes: Record, without: tuple[bytes, ...] = ()) -> list[Record]:
    records = {r.path: r for r in LAYER.scan()} | {r.path: r for r in changes}
    return [records[path] for path in sorted(records) if path not in without]


def test_a_layer_as_it_was_unpacked_has_no_difference() -> None:
    assert list(compare_layer(LAYER, on_disk())) == []
    other_mode = Record(path=b"/made/by", entry=directory(b"/made/by", 0o700))
    assert list(compare_layer(LAYER, on_disk(other_mode))) == [], "nobody said what mode an unnamed directory has"
    assert list(compare_layer(layer(), [Record(path=b"/", entry=directory(b"/"))])) == []


@pytest.mark.parametrize(
    ("disk", "path", "change", "fields"),
    [
        (on_disk(Record(path=b"/dir/tool", entry=replace(INNER, mode=0o4755))), b"/dir/tool", "Metadata", ("mode",)),
        (on_disk(Record(path=b"/dir/evil", entry=file(b"/dir/evil"))), b"/dir/evil", "Added", ()),
        (on_disk(without=(b"/dir/tool",)), b"/dir/tool", "Deleted", ()),
        (on_disk(Record(path=b"/dir/tool", entry=None)), b"/dir/tool", "Deleted", ("whiteout",)),
        (on_disk(Record(path=b"/a", entry=file(b"/a"))), b"/a", "Added", ("whiteout",)),
        (on_disk(without=(b"/a",)), b"/a", "Added", ("whiteout",)),
        (on_disk(Record(path=b"/b", entry=None)), b"/b", "Deleted", ("whiteout",)),
        (on_disk(Record(path=b"/dir", entry=directory(b"/dir"))), b"/dir", "Metadata", ("opaque",)),
        (on_disk(Record(path=b"/dir/tool", entry=replace(INNER, digest=None))), b"/dir/tool", "Unread", ("unread",)),
    ],
)
def test_every_change_of_a_layer_on_disk_is_found(disk: list[Record], path: bytes, change: str, fields: tuple[str, ...]) -> None:
    assert [(d.path, d.change.value, d.fields) for d in compare_layer(LAYER, disk)] == [(path, change, fields)]


def test_an_unreadable_directory_of_a_layer_is_said_once_with_its_reason() -> None:
    records = [r for r in on_disk() if not r.path.startswith(b"/dir/")]
    found = list(compare_layer(LAYER, [*records[:3], Unobserved(path=b"/dir", reason="I/O error"), *records[3:]]))
    assert [(d.path, d.change, d.reason) for d in found] == [(b"/dir", Change.UNREAD, "I/O error")]


def test_records_out_of_order_are_an_error_and_not_made_up_differences() -> None:
    with pytest.raises(ValueError, match="not sorted"):
        list(compare_layer(LAYER, reversed(on_disk())))
