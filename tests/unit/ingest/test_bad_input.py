"""What an image may do to whoever reads it: each is refused by name, or read as a runtime unpacks it, within bounds."""

import gzip
import io
import sys
import tarfile
from collections.abc import Iterator

import pytest
from backports import zstd

from intact.ingest.compression import decompress
from intact.ingest.image import ingest
from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.digest import Digest
from intact.model.errors import InputError, TrustError
from intact.model.layer import Record
from lab import layers
from lab.layers import build_tar
from tests.unit.ingest.sources import LAYER, MANIFEST, make_image, pack_json

LIMITS = Limits()


def read(tar: bytes, *, base: bool = True) -> list[Record]:
    members = read_members([tar], limits=LIMITS, layer="bad")
    return apply_members(members, base=base, limits=LIMITS, layer="bad")[1]


def many(count: int) -> Iterator[bytes]:
    """An archive of that many empty files in a thousand directories, made as it is read."""
    header = bytearray(tarfile.TarInfo("0" * 11).tobuf(tarfile.USTAR_FORMAT))
    rest = sum(header) - sum(header[:11]) - sum(header[148:156]) + 8 * 32
    for first in range(0, count, 1000):
        block = bytearray()
        for number in range(first, min(first + 1000, count)):
            header[:11] = name = b"%03d/%07d" % (number % 1000, number)
            header[148:156] = b"%06o\0 " % (rest + sum(name))
            block += header
        yield bytes(block)
    yield bytes(1024)


def test_entries_that_come_twice_count_once_as_the_last_one() -> None:
    twice = [layers.file(b"/a", b"1"), layers.file(b"/b", b""), layers.file(b"/a", b"22", 0o600), layers.file(b"/./a/../a", b"333")]
    (found,) = (record.entry for record in read(build_tar(twice)) if record.path == b"/a")
    assert found is not None
    assert (found.size_bytes, found.mode) == (3, 0o644)
    assert [record.path for record in read(build_tar([layers.file(b"/a", b"") for _ in range(5000)]))] == [b"/", b"/a"]


@pytest.mark.parametrize("name", [b"../etc/passwd", b"a/../../etc/passwd", b"./../x", b"/../x", b"../" * 500 + b"x"])
def test_entries_above_the_root_are_refused(name: bytes) -> None:
    for entry in (layers.file(b"/" + name, b""), layers.symlink(b"/" + name, b"x"), layers.whiteout(b"/" + name)):
        with pytest.raises(InputError, match="leaves the root"):
            read(build_tar([entry]))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_over_4096_bytes_are_refused(form: int) -> None:
    for name, link in (("n/" * 2100 + "x", ""), ("x", "n/" * 2100)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
            archive.addfile(info)
        with pytest.raises(InputError, match="longer than 4096 bytes"):
            read(buffer.getvalue())


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_up_to_4096_bytes_are_kept(form: int) -> None:
    name = "/".join(["p" * 200] * 20)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert read(buffer.getvalue())[-1].path == b"/" + name.encode()


@pytest.mark.timeout(1800)
def test_a_million_entries_are_read() -> None:
    members = read_members(many(1_000_000), limits=LIMITS, layer="bad")
    _, records = apply_members(members, base=True, limits=LIMITS, layer="bad")
    assert len(records) == 1_001_001
    assert sys.getsizeof(records) < 16 << 20


def test_more_entries_than_the_bound_are_refused_before_they_are_read() -> None:
    taken = 0

    def count() -> Iterator[bytes]:
        nonlocal taken
        for block in many(1_000_000):
            taken += 1
            yield block

    with pytest.raises(InputError, match="more than 5000 members"):
        list(read_members(count(), limits=Limits(entries=5000), layer="bad"))
    assert taken < 10


@pytest.mark.parametrize("suffix", ["gzip", "zstd"])
def test_a_layer_that_unpacks_to_ten_thousand_times_its_size_is_refused(suffix: str) -> None:
    plain = bytes(300 << 20)
    packed = gzip.compress(gzip.compress(plain)) if suffix == "gzip" else zstd.compress(plain)
    if suffix == "zstd":
        assert len(plain) > 10_000 * len(packed)
        with pytest.raises(InputError, match="unpack to more than 1200 times"):
            for _ in decompress([packed], f"{LAYER}+zstd", limits=LIMITS, layer="bad"):
                pass
    else:  # gzip cannot reach that in one step, and nobody takes a second one
        data = b"".join(decompress([packed], f"{LAYER}+gzip", limits=LIMITS, layer="bad"))
        assert len(data) < len(plain) // 1000
        with pytest.raises(InputError, match=r"Truncated|ends within|checksum|malformed"):
            read(data)


def test_a_whiteout_of_a_path_of_its_own_layer_never_hides_it() -> None:
    """Whiteouts are about the layers beneath (image-spec, layer.md#whiteouts)."""
    for entries in (
        [layers.file(b"/a", b"1"), layers.whiteout(b"/a")],
        [layers.whiteout(b"/a"), layers.file(b"/a", b"1")],
    ):
        (found,) = (record for record in read(build_tar(entries), base=False) if record.path == b"/a")
        assert found.entry is not None
        assert found.entry.size_bytes == 1


@pytest.mark.parametrize("target", [b"nowhere", b"later", b"gone", b"directory", b"hidden", b"../outside", b"/etc/passwd"])
def test_hard_links_to_nowhere_are_refused(target: bytes) -> None:
    """Also to what comes later, was replaced by a whiteout, is a directory, or lies in another layer."""
    link = layers.hard_link(b"/link", layers.file(b"/" + target, b""))
    entries = [layers.directory(b"/directory"), layers.whiteout(b"/hidden"), link, layers.file(b"/later", b"")]
    with pytest.raises(InputError, match=r"hard link|leaves the root"):
        read(build_tar(entries), base=False)
    source = make_image([build_tar([layers.directory(b"/etc"), layers.file(b"/etc/passwd", b"")]), build_tar(entries)])
    with pytest.raises(InputError, match=r"hard link|leaves the root"):
        ingest(source)


def test_two_layers_of_one_name_with_other_content_are_told_apart() -> None:
    """A manifest may name a blob twice, and a source may answer otherwise the second time: each reading is proven."""
    tar, other = build_tar([layers.file(b"/a", b"1")]), build_tar([layers.file(b"/a", b"2")])
    source = make_image([tar, tar], compressed=False)
    assert len(ingest(source).layers) == 2
    name = next(digest for digest, data in source.blobs.items() if data == tar)
    source.blobs[name] = other
    with pytest.raises(TrustError, match=name):
        ingest(source)
    source.blobs[name] = tar
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [name, str(Digest.of(other))]}}
    config = source.add(pack_json(document), "application/vnd.oci.image.config.v1+json")
    layer = {"mediaType": LAYER, "digest": name, "size": len(tar)}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer, layer]}
    source.set_root(source.add(pack_json(manifest), MANIFEST))
    with pytest.raises(TrustError, match="not to its diff_id"):
        ingest(source)
