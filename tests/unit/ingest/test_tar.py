"""The tar reader reads what runtimes read, and refuses the rest by naming layer and member."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator

import pytest

from intact.ingest.limits import Limits
from intact.ingest.tar import Member, read_members
from intact.model.errors import InputError


def chop(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, *, chunk: int = 1 << 16, limits: Limits | None = None) -> list[Member]:
    return list(read_members(chop(data, chunk), limits=limits or Limits(), layer="sha256:abc"))


def member(name: str, content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, **more: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, **more) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def reseal(block: bytes) -> bytes:
    """A header block with its checksum put right."""
    blank = block[:148] + b" " * 8 + block[156:512]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:] + block[512:]


LONG = "d/" * 120 + "name"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 512, 70_000])
def test_every_format_gives_the_same_members_in_any_chunks(form: int, chunk: int) -> None:
    name = LONG[-200:] if form == tarfile.USTAR_FORMAT else LONG
    content = bytes(range(256)) * 5
    found = read(archive(member(name, content, mode=0o4755, uid=1000, gid=7), member("z", b""), form=form), chunk=chunk)
    assert [(m.name, m.mode, m.uid, m.gid, m.size_bytes) for m in found] == [(name.encode(), 0o4755, 1000, 7, 1280), (b"z", 0o644, 0, 0, 0)]
    assert found[0].digest == hashlib.sha256(content).digest()


def test_large_numbers_are_read_in_base_256_and_pax() -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (found,) = read(archive(member("a", b"", uid=3_000_000_000, gid=2_999_999_999), form=form))
        assert (found.uid, found.gid) == (3_000_000_000, 2_999_999_999)


def test_extended_attributes_keep_every_byte() -> None:
    value = "\x01\x00\udcff="
    (found,) = read(archive(member("a", b"x", pax_headers={"SCHILY.xattr.user.k": value})))
    assert found.xattrs == {b"user.k": b"\x01\x00\xff="}


def test_a_global_header_does_not_reach_the_members_after_it() -> None:
    found = read(archive(member("a", b"x"), pax_headers={"uid": "99", "comment": "c"}))
    assert [(m.type, m.uid) for m in found] == [(b"g", 0), (b"0", 0)]


def test_links_and_devices_have_no_content_whatever_their_size_says() -> None:
    data = bytearray(archive(member("l", b"", type=tarfile.LNKTYPE, linkname="a"), member("b", b"y")))
    data[124:136] = b"00000001000\0"
    data[:512] = reseal(bytes(data[:512]))
    assert [(m.name, m.size_bytes) for m in read(bytes(data))] == [(b"l", 0), (b"b", 1)]


def test_an_archive_may_end_without_its_blocks_of_zeros() -> None:
    data = archive(member("a", b"x"))
    assert read(data[:1024]) == read(data) == read(data[:513]) != []


def patch(at: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: reseal(data[:at] + value + data[at + len(value) :])


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "checksum": (lambda data: b"X" + data[1:], "checksum"),
    "truncated header": (lambda data: data[:300], "ends within"),
    "truncated content": (lambda data: data[: 512 + 100], "too early"),
    "zeros between": (lambda data: bytes(512) + data, "zeros"),
    "odd number": (patch(124, b"0000000009x\0"), "numeric"),
    "negative size": (patch(124, b"\xff" * 12), "size"),
    "huge base-256": (patch(124, b"\x80" + b"\x7f" * 11), "numeric"),
    "gnu sparse": (patch(156, b"S"), "sparse"),
    "unknown type": (patch(156, b"7"), "type"),
}


@pytest.mark.parametrize(("damage", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_archive_is_refused_by_name(damage: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read(damage(archive(member("victim", b"x" * 1000))))
    assert "sha256:abc" in str(raised.value)


@pytest.mark.parametrize(
    "record", [b"9 path=\n", b"99 path=a\n", b"x path=a\n", b"10 path=a\0\n", b"11 =aaaaaa\n", b"10 patha=\x00", b"5 a=\n5"]
)
def test_a_malformed_extended_header_is_refused(record: bytes) -> None:
    header = bytearray(archive(member("PaxHeader", record, type=b"x"))[:1024]) + archive(member("a"))
    with pytest.raises(InputError):
        read(bytes(header))


def test_sparse_files_of_pax_are_refused() -> None:
    with pytest.raises(InputError, match="sparse"):
        read(archive(member("a", b"x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})))


def test_bounds_bite_and_say_so() -> None:
    many = archive(*(member(str(index)) for index in range(11)))
    with pytest.raises(InputError, match="more than 10 members"):
        read(many, limits=Limits(entries=10))
    with pytest.raises(InputError, match="extended header"):
        read(archive(member("a", b"", pax_headers={"comment": "x" * 5000})), limits=Limits(extended_header_bytes=4096))
    with pytest.raises(InputError, match="longer than 4096"):
        read(archive(member("n/" * 3000)))
    with pytest.raises(InputError, match="attributes"):
        read(archive(member("a", b"", pax_headers={"SCHILY.xattr.user.k": "v" * 70_000})))
