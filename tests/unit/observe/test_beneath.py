"""What an upper directory only refers to is the image's, by the kernel's rules, or is said not to be known."""

import pytest

from intact.model.container import Mounted
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.observation import Unobserved
from intact.observe.beneath import Beneath, is_metadata_only, is_moved
from intact.observe.ports import Node
from tests.unit.trees import directory, file, image

BASELINE = image(directory(b"/a"), directory(b"/a/d"), file(b"/a/d/x", b"1"), file(b"/a/y", b"22"), directory(b"/b"), file(b"/b/y", b"33"))


def beneath(*options: str) -> Beneath:
    return Beneath.of(Mounted(upper=b"/u", lowers=(b"/l",), device=0, options=options), BASELINE)


def node(path: bytes, kind: Kind = Kind.DIRECTORY, size: int = 0, **overlay: bytes) -> Node:
    entry = Entry(path=path, kind=kind, mode=0o755, size_bytes=size)
    attributes = {name.encode(): value for name, value in overlay.items()}
    return Node(entry=entry, overlay=attributes, links=1, name=path.rpartition(b"/")[2], directory=-1, identity=(0, 0, 0, 0, 0))


def copy(path: bytes, size: int, **overlay: bytes) -> Node:
    return node(path, Kind.FILE, size, metacopy=b"", **overlay)


BOTH = ("metacopy=on", "redirect_dir=on")


def test_attributes_mean_something_only_where_the_kernel_reads_them() -> None:
    assert is_moved(node(b"/n", redirect=b"a")) and not is_moved(node(b"/n", redirect=b"a", opaque=b"y"))
    assert not is_moved(node(b"/n", Kind.FILE, redirect=b"a")) and not is_moved(node(b"/", redirect=b"a"))
    assert is_metadata_only(copy(b"/n", 1)) and not is_metadata_only(node(b"/n", Kind.SYMLINK, metacopy=b""))


def test_below_moved_directories_names_lead_where_the_directories_came_from() -> None:
    view = beneath(*BOTH)
    for one in (node(b"/n", redirect=b"a"), node(b"/n/m", redirect=b"d"), node(b"/n/o", redirect=b"/b"), node(b"/new", opaque=b"y")):
        assert view.enter(one) is None
    for path, size, content in ((b"/n/y", 2, b"22"), (b"/n/m/x", 1, b"1"), (b"/n/o/y", 2, b"33"), (b"/b/y", 2, b"33")):
        found = view.find_content(copy(path, size))
        assert isinstance(found, Entry) and found.digest == Digest.of(content)
    beside = view.find_content(copy(b"/n/z", 2, redirect=b"y"))
    assert isinstance(beside, Entry) and beside.digest == Digest.of(b"22")
    assert [entry.path for entry in view.list_moved(b"/n")] == [b"/n/d", b"/n/d/x", b"/n/y"]
    assert isinstance(view.find_content(copy(b"/new/y", 2, redirect=b"y")), Unobserved), "nothing is beneath an opaque directory"


def test_a_directory_moved_from_where_no_directory_is_merges_with_nothing() -> None:
    view = beneath(*BOTH)
    assert view.enter(node(b"/n", redirect=b"/a/y")) is None
    assert list(view.list_moved(b"/n")) == []


@pytest.mark.parametrize("redirect", [b"", b"/", b"a/d", b"..", b"/a/../b", b"/a//d", b"/a/", b"a\0"])
def test_what_the_kernel_refuses_is_not_followed(redirect: bytes) -> None:
    view = beneath(*BOTH)
    assert isinstance(view.enter(node(b"/n", redirect=redirect)), Unobserved)
    assert isinstance(view.find_content(copy(b"/z", 2, redirect=redirect)), Unobserved)


@pytest.mark.parametrize("options", [(), ("metacopy=off",), ("redirect_dir=nofollow",), (*BOTH, "userxattr")])
def test_an_overlay_that_does_not_follow_is_not_followed(options: tuple[str, ...]) -> None:
    view = beneath(*options)
    assert isinstance(view.enter(node(b"/n", redirect=b"a")), Unobserved)
    assert isinstance(view.find_content(copy(b"/a/y", 2)), Unobserved)


@pytest.mark.parametrize(("path", "size"), [(b"/a/y", 3), (b"/a/d", 2), (b"/none", 2)])
def test_content_that_is_not_there_or_cannot_be_it_is_not_made_up(path: bytes, size: int) -> None:
    assert isinstance(beneath(*BOTH).find_content(copy(path, size)), Unobserved)
