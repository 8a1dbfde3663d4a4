"""Owners are those that a process in the container's user namespace sees, wherever they stand."""

import struct

import pytest

from intact.model.container import IdMap
from intact.model.entry import Entry, Kind
from intact.observe.owners import UNMAPPED_ID, map_id, map_owners

LINES = (IdMap(inside=0, outside=1_000_000, count=1000), IdMap(inside=5000, outside=70_000, count=1))
OTHERS = (IdMap(inside=0, outside=2_000_000, count=1000),)
NOBODY = 0xFFFFFFFF


def acl(*lines: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *line) for line in lines)


def capability(version: int, *root: int) -> bytes:
    return struct.pack(f"<{5 + len(root)}I", version << 24 | 1, 1 << 10, 0, 0, 0, *root)


def mapped(name: bytes, value: bytes) -> bytes:
    entry = Entry(path=b"/x", kind=Kind.FILE, mode=0o644, xattrs=((name, value),))
    return map_owners(entry, LINES, OTHERS).xattrs[0][1]


@pytest.mark.parametrize(
    ("outside", "inside"), [(1_000_000, 0), (1_000_999, 999), (1_001_000, UNMAPPED_ID), (70_000, 5000), (0, UNMAPPED_ID)]
)
def test_an_id_is_the_one_inside_or_none(outside: int, inside: int) -> None:
    assert map_id(outside, LINES) == inside
    assert map_id(outside, ()) == outside


def test_users_and_groups_have_maps_of_their_own() -> None:
    entry = map_owners(Entry(path=b"/x", kind=Kind.FILE, mode=0, uid=1_000_007, gid=2_000_008), LINES, OTHERS)
    assert (entry.uid, entry.gid) == (7, 8)
    assert map_owners(entry, (), ()) is entry


@pytest.mark.parametrize("name", [b"system.posix_acl_access", b"system.posix_acl_default"])
def test_named_users_and_groups_of_a_list_are_those_inside(name: bytes) -> None:
    outside = acl((1, 6, NOBODY), (2, 4, 1_000_007), (2, 4, 7), (4, 4, NOBODY), (8, 6, 2_000_008), (0x10, 6, NOBODY), (0x20, 4, NOBODY))
    inside = acl((1, 6, NOBODY), (2, 4, 7), (2, 4, UNMAPPED_ID), (4, 4, NOBODY), (8, 6, 8), (0x10, 6, NOBODY), (0x20, 4, NOBODY))
    assert mapped(name, outside) == inside


@pytest.mark.parametrize("value", [b"", b"\2\0\0", acl((2, 4, 1_000_007))[:-1], b"\3" + acl((2, 4, 1_000_007))[1:]])
def test_what_is_no_list_is_left_as_it_is(value: bytes) -> None:
    assert mapped(b"system.posix_acl_access", value) == value


def test_capabilities_of_the_namespaces_own_root_are_those_of_an_image() -> None:
    assert mapped(b"security.capability", capability(3, 1_000_000)) == capability(2)
    assert mapped(b"security.capability", capability(2)) == capability(2)


def test_capabilities_of_another_root_are_none_of_an_image() -> None:
    assert mapped(b"security.capability", capability(3, 1_000_007)) == capability(3, 7)
    assert mapped(b"security.capability", capability(3, 4_000_000)) == capability(3, 4_000_000)
    assert mapped(b"security.capability", b"\0" * 24) == b"\0" * 24


def test_other_attributes_have_no_owner() -> None:
    assert mapped(b"user.x", capability(3, 1_000_000)) == capability(3, 1_000_000)
