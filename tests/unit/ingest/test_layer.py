"""Members become records as containerd would unpack them; what it would fail on, and what leaves the root, is refused by name."""

import stat

import pytest

from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.layer import Form, Record
from lab import layers
from lab.layers import Entry


def apply(*entries: Entry, base: bool = False) -> tuple[Form, dict[bytes, Record]]:
    members = read_members([layers.build_tar(entries)], limits=Limits(), layer="sha256:abc")
    form, records = apply_members(members, base=base, limits=Limits(), layer="sha256:abc")
    assert [record.path for record in records] == sorted(record.path for record in records)
    return form, {record.path: record for record in records}


PASSWD = layers.file(b"/etc/passwd", b"x")


@pytest.mark.parametrize("name", [b"/../etc/passwd", b"/a/../../etc/passwd", b"/..", b"/./../x"])
def test_1_a_name_that_leaves_the_root_is_refused(name: bytes) -> None:
    with pytest.raises(InputError, match=r"layer sha256:abc, member .*leaves the root"):
        apply(layers.file(name, b"evil"))


def test_1_a_hard_link_to_outside_is_refused() -> None:
    outside = layers.file(b"/../../etc/shadow", b"")
    with pytest.raises(InputError, match="leaves the root"):
        apply(layers.hard_link(b"/link", outside))


def test_1_names_are_cleaned_and_the_root_itself_is_ignored() -> None:
    _, found = apply(layers.directory(b"/", 0o700, uid=9), layers.file(b"//a/./b/../c//", b""), layers.file(b"/x/..", b""))
    assert set(found) == {b"/", b"/a", b"/a/c"}
    root = found[b"/"].entry
    assert root is not None
    assert (root.mode, root.uid, found[b"/"].implicit) == (0o755, 0, True)


def test_2_a_parent_that_is_a_symlink_is_followed_inside_the_layer_only() -> None:
    _, found = apply(layers.symlink(b"/s", b"/../../etc"), layers.file(b"/s/passwd", b"1"))
    assert found[b"/etc/passwd"].entry is not None
    assert found[b"/etc"].implicit


def test_2_symlinks_that_never_end_are_refused() -> None:
    with pytest.raises(InputError, match="do not end"):
        apply(layers.symlink(b"/a", b"b"), layers.symlink(b"/b", b"a"), layers.file(b"/a/x", b""))


def test_2_symlinks_that_grow_are_refused() -> None:
    with pytest.raises(InputError, match=r"do not end|too long"):
        apply(layers.symlink(b"/a", b"a/" + b"x/" * 200), layers.file(b"/a/x", b""))


def test_2_a_parent_that_is_a_file_is_refused() -> None:
    with pytest.raises(InputError, match="not a directory"):
        apply(PASSWD, layers.file(b"/etc/passwd/x", b""))


@pytest.mark.parametrize("name", [b"/.wh.", b"/a/.wh..", b"/a/.wh..."])
def test_3_a_whiteout_that_names_nothing_is_refused(name: bytes) -> None:
    with pytest.raises(InputError, match="names nothing"):
        apply(layers.file(name, b""))


def test_3_a_whiteout_hides_only_what_lies_beneath() -> None:
    form, found = apply(PASSWD, layers.whiteout(b"/etc/passwd"), layers.directory(b"/d"), layers.whiteout(b"/d"), layers.whiteout(b"/gone"))
    assert form is Form.STACKED
    assert found[b"/etc/passwd"].entry is not None
    assert found[b"/d"].opaque
    assert found[b"/gone"].entry is None


def test_3_in_the_lowest_layer_a_whiteout_removes_and_leaves_no_trace() -> None:
    form, found = apply(PASSWD, layers.whiteout(b"/etc/passwd"), base=True)
    assert (form, set(found)) == (Form.BASE, {b"/", b"/etc"})


def test_4_a_directory_merges_and_everything_else_replaces() -> None:
    _, found = apply(layers.file(b"/d/x", b"1"), layers.directory(b"/d", 0o700), layers.file(b"/f/y", b"1"), layers.file(b"/f", b"2"))
    assert set(found) == {b"/", b"/d", b"/d/x", b"/f"}
    assert found[b"/d"].entry is not None
    assert (found[b"/d"].entry.mode, found[b"/d"].implicit) == (0o700, False)


def test_5_hard_links_share_what_their_inode_has_last() -> None:
    tool = layers.file(b"/tool", b"elf", 0o755, xattrs={"security.capability": b"\1\0\0\2" + bytes(16)})
    _, found = apply(tool, layers.hard_link(b"/link", layers.file(b"/tool", b"", 0o4711, uid=5)))
    one, two = found[b"/tool"].entry, found[b"/link"].entry
    assert one is not None
    assert two is not None
    assert (one.mode, one.uid, one.xattrs, one.digest) == (two.mode, two.uid, two.xattrs, two.digest) == (0o4711, 5, (), one.digest)
    assert one.mode & stat.S_ISUID


def test_5_a_hard_link_to_nowhere_is_refused() -> None:
    for target in (layers.file(b"/missing", b""), layers.directory(b"/")):
        with pytest.raises(InputError, match="hard link"):
            apply(layers.hard_link(b"/link", target))


def test_a_zero_device_is_what_overlayfs_takes_it_for() -> None:
    _, found = apply(layers.character_device(b"/gone", (0, 0)), layers.block_device(b"/disk", (0, 0)))
    assert found[b"/gone"].entry is None
    assert found[b"/disk"].entry is not None
    assert found[b"/disk"].entry.kind is Kind.BLOCK


def test_labels_of_the_hosts_security_modules_are_left_out() -> None:
    _, found = apply(layers.file(b"/f", b"", xattrs={"security.selinux": b"s", "user.k": b"v", "trusted.overlay.opaque": b"y"}))
    assert found[b"/f"].entry is not None
    assert found[b"/f"].entry.xattrs == ((b"user.k", b"v"),)


@pytest.mark.parametrize(
    "entry", [layers.file(b"/f", b"", uid=0xFFFFFFFF), layers.character_device(b"/c", (4096, 0)), layers.symlink(b"/l", b"")]
)
def test_what_no_file_system_can_hold_is_refused(entry: Entry) -> None:
    with pytest.raises(InputError, match="layer sha256:abc, member "):
        apply(entry)
