"""What an mtree specification may look like, and what becomes of it; what real programs write is in test_formats."""

import pytest

from intact.baseline.formats.mtree import read_mtree
from intact.baseline.formats.vis import decode_vis, encode_vis
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline
from intact.model.stated import EVERY_KIND, Aspect

SHA = b"a" * 64
ROOT = b". type=dir mode=0755 uid=0 gid=0\n"


def read(text: bytes) -> Baseline:
    return read_mtree(text).build(source="test")


def entries(text: bytes) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in read(text).scan()}


def test_relative_names_descend_and_ascend() -> None:
    found = entries(
        b"#mtree\n/set type=file uid=0 gid=0 mode=0644\n"
        b".               type=dir mode=0755\n    a           size=1\n"
        b"    usr         type=dir mode=0755\n        bin     type=dir\n            tool    mode=04755\n        ..\n"
        b"        lib     type=link link=x\n    ..\n    z\n..\n"
    )
    assert list(found) == [b"/", b"/a", b"/usr", b"/usr/bin", b"/usr/bin/tool", b"/usr/lib", b"/z"]
    assert found[b"/usr/bin/tool"].mode == 0o4755
    assert found[b"/usr/lib"].target == b"x"


def test_full_paths_and_relative_ones_mix_as_in_netbsd() -> None:
    found = entries(ROOT + b"./usr type=dir\n./usr/bin type=dir\nname type=file\n..\n./srv type=dir\nhere type=file\n")
    assert list(found) == [b"/", b"/srv", b"/srv/here", b"/usr", b"/usr/bin", b"/usr/bin/name"]


def test_defaults_are_set_overridden_and_unset() -> None:
    text = b"/set type=dir uid=7 gid=8 mode=0700\n. uid=1\n/unset mode\n/set gid=9\nd mode=0711\n..\n"
    found = entries(text + b"/unset all\n./e type=dir uid=1 gid=2 mode=0\n")
    assert [(e.uid, e.gid, e.mode) for e in found.values()] == [(1, 8, 0o700), (7, 9, 0o711), (1, 2, 0)]


def test_lines_go_on_after_a_backslash_and_end_as_on_other_systems() -> None:
    found = entries(b"\xef\xbb\xbf" + ROOT.replace(b"\n", b"\r\n") + b"./x \\\n    type=file \\\n  size=3 mode=0600\n")
    assert (found[b"/x"].size_bytes, found[b"/x"].mode) == (3, 0o600)


def test_only_what_every_entry_states_is_stated() -> None:
    baseline = read(
        ROOT + b"./a type=file size=1 sha256=" + SHA + b" md5=" + SHA[:32] + b" uid=3\n./b type=file sha256digest=" + SHA + b" uid=3\n"
    )
    assert baseline.stated.aspects == {Aspect.CONTENT, Aspect.UID, Aspect.TARGET, Aspect.DEVICE}
    assert baseline.stated.kinds == EVERY_KIND
    found = baseline.find(b"/a")
    assert found is not None
    assert (found.size_bytes, found.mode, found.further) == (0, 0, ())  # no placeholder that could be taken for knowledge


def test_directories_that_are_not_listed_make_no_statement_of_directories() -> None:
    listing = read_mtree(b"./usr/bin/x type=file mode=0755\n")
    assert listing.stated.kinds == EVERY_KIND - {Kind.DIRECTORY}
    assert any("are not listed" in note for note in listing.losses.notes)


def test_weak_digests_alone_state_weak_content() -> None:
    baseline = read(ROOT + b"./a type=file size=1 md5=" + SHA[:32] + b"\n")
    assert baseline.stated.is_weak
    found = baseline.find(b"/a")
    assert found is not None
    assert (found.digest, [digest.algorithm for digest in found.further]) == (None, ["md5"])


def test_keywords_without_a_place_are_counted() -> None:
    listing = read_mtree(ROOT + b"./a type=file time=1.0 nlink=1 flags=none uname=root optional\n./b type=file time=2.0\n")
    assert dict(listing.losses.parts) == {"time": 2, "nlink": 1, "flags": 1, "uname": 1}
    assert any("`optional`" in note for note in listing.losses.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b"#mtree\n", "is empty"),
        (b"./a\n", "has no type"),
        (b"./a type=door\n", "type=b'door' cannot be"),
        (b"./a type=file mode=rwx\n", "mode=b'rwx' cannot be"),
        (b"./a type=file mode=10000\n", "cannot be"),
        (b"./a type=file uid=-1\n", "cannot be"),
        (b"./a type=file uid=4294967296\n", "cannot be"),
        (b"./a type=file size=99999999999999999999999999\n", "cannot be"),
        (b"./a type=file sha256=" + SHA[:62] + b"\n", "cannot be"),
        (b"./a type=file sha256=" + SHA + b" sha256digest=" + SHA[:-1] + b"b\n", "cannot be"),
        (b"./a type=link link=\n", "cannot be"),
        (b"./a type=char device=native,1\n", "cannot be"),
        (b"./a type=char device=sunos,1,2\n", "cannot be"),
        (b"./a type=file a b=c =d\n", "no keyword of mtree"),
        (b"./../a type=file\n", "leads out"),
        (b". type=dir\n..\n..\n", "above the root"),
        (b". type=dir\n..\nafter type=file\n", "follows the end of the root"),
        (b". type=file\n", "root directory as something else"),
        (b"./a type=file\n./a type=dir\n", "comes twice"),
        (b"./a type=file\n./a/b type=file\n", "listed as no directory"),
        (b"./a\\000b type=file\n", "stands for NUL"),
        (b"./a\\q type=file\n", "no escape"),
        (b"./" + b"x" * 5000 + b" type=file\n", "a path of 5001 bytes"),
        (b"./a type=file \\\n", "nothing follows"),
        (b"x" * 200_000, "longer than"),
        ((b"x" * 1000 + b" \\\n") * 200, "goes on for more than"),
    ],
)
def test_what_is_no_specification_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (rb"\040\s\011\t", b"  \t\t"),
        (rb"\M-C\M-)", b"\xc3\xa9"),
        (rb"\M^A\^A\^?", b"\x81\x01\x7f"),
        (rb"\#\*\\", b"#*\\"),
        (rb"\xe9\n", b"\xe9\n"),
        (rb"a\$b", b"ab"),
        (rb"\1014", b"A4"),
    ],
)
def test_every_style_of_vis_is_read(text: bytes, name: bytes) -> None:
    assert decode_vis(text) == name


def test_every_byte_is_written_so_that_it_comes_back() -> None:
    name = bytes(range(1, 256))
    assert decode_vis(encode_vis(name)) == name
    assert not set(encode_vis(name)) & set(b" \t\n#*=?[")
