"""Archives of images are read in place, and whoever wrote them cannot make the reader hold, wait for or believe more than it should."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from intact.adapters.layout import members
from intact.adapters.layout.members import Members
from intact.adapters.layout.names import (
    LayoutArchiveName,
    StorageName,
    parse_image_name,
)
from intact.model.errors import InputError


def write(path: Path, *infos: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Members:
    with tarfile.open(path, "w", format=form) as archive:
        for info, data in infos:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return Members(path, "the archive")


def named(name: str, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_members_are_read_by_name_and_a_link_stands_for_its_member(tmp_path: Path) -> None:
    link = named("b/layer.tar", type=tarfile.SYMTYPE, linkname="../a/layer.tar")
    dangling = named("c/layer.tar", type=tarfile.SYMTYPE, linkname="../../../etc/passwd")
    archive = write(tmp_path / "a.tar", (named("./a/layer.tar"), b"layer"), (link, b""), (dangling, b""), (named("x.json"), b"[1]"))
    assert (archive.read("a/layer.tar"), archive.read("b/layer.tar"), archive.read_json("x.json")) == (b"layer", b"layer", [1])
    assert archive.size_bytes("b/layer.tar") == 5
    for name in ("c/layer.tar", "/etc/passwd", "nothing"):
        with pytest.raises(InputError, match="has no member"):
            archive.read(name)


def test_a_header_that_wants_to_be_held_in_memory_is_refused(tmp_path: Path) -> None:
    """A sparse file makes an extended header of sixteen gigabytes cost nothing to who ships it."""
    header = named("x", type=b"x", size=16 << 30).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "a.tar"
    path.write_bytes(header)
    os.truncate(path, 17 << 30)
    with pytest.raises(InputError, match=r"a header has .* bytes, more than"):
        Members(path, "the archive").read("x")


def test_bounds_bite_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "a.tar", *((named(str(number)), b"") for number in range(12)))
    monkeypatch.setattr(members, "MAX_MEMBERS", 10)
    with pytest.raises(InputError, match="more than 10 members"):
        archive.read("1")
    monkeypatch.setattr(members, "MAX_JSON_BYTES", 3)
    with pytest.raises(InputError, match="larger than 3 bytes"):
        write(tmp_path / "b.tar", (named("x.json"), b"[1,2]")).read_json("x.json")


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x08gzip", b"x" * 2000, bytes(100)])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is not a tar archive|has no member"):
        Members(path, "the archive").read("index.json")


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("fifo", "link", ".", "none"):
        with pytest.raises(InputError):
            Members(tmp_path / name, "the archive").read("index.json")


def test_a_sparse_member_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(named("x", type=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError):
        Members(path, "the archive").read("x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("oci-archive:/a.tar:x:1", LayoutArchiveName(file=Path("/a.tar"), tag="x:1")),
        ("containers-storage:web:1", StorageName(reference="web:1")),
        ("containers-storage:@abc", StorageName(reference="@abc")),
        ("containers-storage:[/g]web", StorageName(reference="web", graphroot=Path("/g"))),
        ("containers-storage:[vfs@/g]web", StorageName(reference="web", driver="vfs", graphroot=Path("/g"))),
        ("containers-storage:[vfs@/g+/r]w", StorageName(reference="w", driver="vfs", graphroot=Path("/g"), runroot=Path("/r"))),
        ("containers-storage:[/g+/r]w@sha256:0", StorageName(reference="w@sha256:0", graphroot=Path("/g"), runroot=Path("/r"))),
    ],
)
def test_names_are_those_of_containers_transports(text: str, name: object) -> None:
    assert parse_image_name(text) == name


@pytest.mark.parametrize(
    "text", ["[g]w", "[]w", "[/g", "[/g]", "[@/g+r]w", "[vfs@/g+r]w", "[/g:overlay.ignore_chown_errors=true]w", "[a/b@/g]w"]
)
def test_a_store_that_is_not_named_right_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no image of a store"):
        parse_image_name(f"containers-storage:{text}")
