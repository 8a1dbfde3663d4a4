"""An image out of Podman's store counts only if each layer's tar is what its diff_id says, whatever lies in the store."""

import errno
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.containers_storage import tarsplit
from intact.adapters.containers_storage.records import ImageRecord
from intact.adapters.containers_storage.source import StorageSource, find_image
from intact.ingest.image import ingest
from intact.model.errors import InputError, PermanentError, TrustError
from intact.model.layer import Baseline
from lab import layers
from lab.layers import build_tar
from tests.unit.adapters.containers_storage.stores import NAME, StoreWriter, digest_of, entry, pack_pieces, segment, split_tar
from tests.unit.ingest.sources import make_image

ENTRIES = [
    layers.directory(b"/etc"),
    passwd := layers.file(b"/etc/passwd", b"root:x:0:0\n" * 50),
    layers.hard_link(b"/etc/link", passwd),
    layers.file(b"/empty", b""),
    layers.file(b"/\xff\xfe odd\n", b"odd"),
    layers.file(b"/" + b"l" * 180 + b"/" + b"m" * 180, b"long"),
    layers.symlink(b"/lib", b"usr/lib"),
    layers.directory(b"/usr"),
    layers.directory(b"/usr/lib"),
    layers.file(b"/usr/lib/so", b"\x7fELF" * 1000),
]
TARS = [build_tar(ENTRIES), build_tar([layers.directory(b"/etc"), layers.file(b"/etc/new", b"2")])]


@pytest.fixture
def store(tmp_path: Path) -> StoreWriter:
    return StoreWriter(tmp_path / "storage", TARS)


def read(source: StorageSource) -> Baseline:
    try:
        return ingest(source)
    finally:
        source.close()


def test_the_image_is_the_one_that_was_stored(store: StoreWriter) -> None:
    expected = ingest(make_image(TARS))
    found = read(store.source())
    assert [layer.root for layer in found.layers] == [layer.root for layer in expected.layers]
    assert str(found.key) == digest_of(store.config)
    manifest = digest_of(store.manifest)
    assert set(found.aliases) == {NAME, manifest, f"docker.io/local/web@{manifest}"}
    assert found.source == f"containers-storage:[overlay@{store.graphroot}]{NAME}"


def test_owners_on_disk_do_not_count(store: StoreWriter) -> None:
    """A rootless store shifts them by the user's own range; the archive's headers have the true ones."""
    expected = read(store.source())
    for path in store.diff().rglob("*"):
        if not os.geteuid():
            os.chown(path, 100_033, 100_033, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o700)
    assert read(store.source()).root == expected.root


@pytest.mark.parametrize("change", ["altered", "longer", "shorter", "gone", "a directory", "a symlink", "a FIFO", "a symlink above"])
def test_a_file_that_is_not_what_was_unpacked_is_refused(store: StoreWriter, tmp_path: Path, change: str) -> None:
    path = store.diff() / "etc/passwd"
    original = path.read_bytes()
    (store.diff() / "etc/link").unlink()
    path.unlink()
    match change:
        case "altered":
            path.write_bytes(b"evil" + original[4:])
        case "longer":
            path.write_bytes(original + b"evil::0:0\n")
        case "shorter":
            path.write_bytes(original[:-1])
        case "gone":
            pass
        case "a directory":
            path.mkdir()
        case "a symlink":
            (tmp_path / "elsewhere").write_bytes(original)
            path.symlink_to(tmp_path / "elsewhere")
        case "a FIFO":
            os.mkfifo(path)
        case _:
            (tmp_path / "elsewhere").mkdir()
            (tmp_path / "elsewhere/passwd").write_bytes(original)
            path.parent.rmdir()
            path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError) as caught:
        read(store.source())
    layer = store.layers[0]
    assert str(layer["id"]) in str(caught.value) or str(layer["diff-digest"]) in str(caught.value)


def test_nothing_outside_the_layer_is_read_however_a_name_leads_there(store: StoreWriter, tmp_path: Path) -> None:
    """The files that are named lie where the names lead in the file system, and have what the archive wants: they do not count."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for name in (str(secret), f"../../../../../../../../../../../../..{secret}", f"etc/../..{secret}", f"usr/lib/up{secret}"):
        (store.diff() / "usr/lib/up").unlink(missing_ok=True)
        (store.diff() / "usr/lib/up").symlink_to("/")
        store.split_again([segment(b"x" * 512), entry(name.encode(), 6)])
        with pytest.raises(TrustError, match="is not in the store"):
            read(store.source())


def test_a_directory_of_the_name_may_be_a_symlink_inside_the_layer(tmp_path: Path) -> None:
    tar = build_tar([layers.directory(b"/usr"), layers.directory(b"/usr/lib"), layers.symlink(b"/lib", b"/usr/lib")])
    through = build_tar([layers.file(b"/lib/x", b"1" * 700)])
    tar = tar.rstrip(b"\0") + bytes(-len(tar.rstrip(b"\0")) % 512) + through
    store = StoreWriter(tmp_path, [build_tar([])])
    store = StoreWriter(tmp_path / "second", [build_tar([layers.directory(b"/usr/lib"), layers.symlink(b"/lib", b"/usr/lib")])])
    (store.diff() / "usr/lib/x").write_bytes(b"1" * 700)
    pieces = split_tar(tar)
    rebuilt = b"".join(rebuild(store, pieces))
    assert rebuilt == tar


def rebuild(store: StoreWriter, pieces: list[dict[str, Any]]) -> list[bytes]:
    from intact.adapters.containers_storage.beneath import Beneath

    with Beneath.open(store.diff()) as files:
        read_ = tarsplit.read_pieces([pack_pieces(pieces)], max_bytes=1 << 24, layer="x")
        return list(tarsplit.rebuild_tar(read_, files, layer="x"))


SPLIT = split_tar(TARS[0])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pack_pieces(SPLIT)[:-40], "ends too early|damaged"),
        (pack_pieces(SPLIT)[:5], "ends too early"),
        (b"", "bytes, not"),
        (b"no gzip at all", "damaged"),
        (pack_pieces(SPLIT) + b"garbage", "damaged|ends too early"),
        (gzip.compress(b"not JSON\n"), "malformed"),
        (gzip.compress(b"[" * 100_000 + b"\n"), "malformed"),
        (gzip.compress(b'{"type":1,"size":"7"}\n'), "malformed"),
        (gzip.compress(b'{"type":3}\n'), "line of type 3"),
        (gzip.compress(b'{"type":2,"payload":"%%%"}\n'), "malformed"),
        (gzip.compress(b'{"type":1,"name":"x","size":-1}\n'), "size of -1"),
        (gzip.compress(b'{"type":1,"name":"x","size":9223372036854775807}\n'), "size of 9223372036854775807"),
        (gzip.compress(b'{"type":1,"name":"x","size":99999999999999999999999999}\n'), "malformed|size of"),
        (pack_pieces([entry(b"a/" * 3000, 5)]), "names a file of 6"),
        (pack_pieces([entry(b"a\0b", 5)]), "names a file of"),
        (gzip.compress(bytes(40 << 20)), "more than"),
        (gzip.compress(b"\n" * (40 << 20)), "more than"),
        (pack_pieces(SPLIT[:-3]), "bytes, not|digest"),
        (pack_pieces([*SPLIT, segment(b"more")]), "longer than"),
        (pack_pieces([{**piece, "size": 1} if piece.get("name") == "etc/passwd" else piece for piece in SPLIT]), "550 bytes, not 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_tar_split_is_refused(store: StoreWriter, data: bytes, said: str) -> None:
    store.write(f"overlay-layers/{store.layers[0]['id']}.tar-split.gz", data)
    with pytest.raises((InputError, TrustError), match=said):
        read(store.source())


def test_a_line_without_an_end_is_bounded() -> None:
    with pytest.raises(InputError, match="a line of its tar-split has more than"):
        list(tarsplit.read_pieces([gzip.compress(b"x" * (20 << 20))], max_bytes=1 << 30, layer="x"))


def test_a_million_entries_take_no_memory_for_each(store: StoreWriter) -> None:
    pieces = gzip.compress(b'{"type":1,"name":"x","size":0}\n' * 1_000_000)
    assert tarsplit.measure_tar(tarsplit.read_pieces([pieces], max_bytes=1 << 26, layer="x")) == 0
    store.write(f"overlay-layers/{store.layers[0]['id']}.tar-split.gz", pieces)
    with pytest.raises(InputError, match="unpacks to more than"):
        read(store.source())


def test_a_wrong_checksum_alone_changes_nothing_and_hides_nothing(store: StoreWriter) -> None:
    """The layer's digest proves more than the CRC-64 of tar-split: one that is wrong is no reason to doubt what is proven."""
    store.split_again([{**piece, "payload": "AAAAAAAAAAE="} if piece["type"] == 1 and piece["size"] else piece for piece in SPLIT])
    assert read(store.source()).root == ingest_expected(store)


def ingest_expected(store: StoreWriter) -> object:
    fresh = StoreWriter(store.graphroot.parent / "fresh", TARS)
    return read(fresh.source()).root


def test_a_layer_without_a_stated_size_is_measured(store: StoreWriter) -> None:
    expected = read(store.source()).root
    for layer in store.layers:
        layer["diff-size"] = -1
        layer.pop("diff-digest")
    store.list_again()
    assert read(store.source()).root == expected


def test_a_layer_that_cannot_be_rebuilt_says_why(store: StoreWriter) -> None:
    layer: dict[str, Any] = store.layers[0]
    split = store.graphroot / f"overlay-layers/{layer['id']}.tar-split.gz"
    kept = split.read_bytes()
    split.unlink()
    with pytest.raises(InputError, match=f"{layer['id']}: its tar cannot be rebuilt: the store keeps no tar-split"):
        read(store.source())
    layer["toc-digest"] = digest_of(b"toc")
    store.list_again()
    with pytest.raises(InputError, match="zstd:chunked"):
        read(store.source())
    split.write_bytes(kept)
    (store.diff().parent / "composefs-data").mkdir()
    with pytest.raises(InputError, match="composefs keeps files by digest"):
        read(store.source())
    (store.diff().parent / "composefs-data").rmdir()
    layer["flags"] = {"incomplete": True}
    store.list_again()
    with pytest.raises(InputError, match="is incomplete"):
        read(store.source())


def test_a_layer_of_another_store_is_read_there_or_named(store: StoreWriter, tmp_path: Path) -> None:
    expected = read(store.source()).root
    shared = tmp_path / "shared"
    (shared / "overlay").mkdir(parents=True)
    base: dict[str, Any] = store.layers.pop(0)
    store.list_again()
    with pytest.raises(InputError, match=f"layer {base['id']} is in none of {store.graphroot}"):
        read(store.source())
    store.diff(base["id"]).parent.rename(shared / "overlay" / base["id"])
    (shared / "overlay-layers").mkdir()
    split = f"overlay-layers/{base['id']}.tar-split.gz"
    (store.graphroot / split).rename(shared / split)
    writer = object.__new__(StoreWriter)
    writer.graphroot, writer.layers, writer.images = shared, [base], []
    writer.list_again()
    assert read(store.source(additional=(shared,))).root == expected
    writer.images = store.images
    store.images = []
    store.list_again()
    with pytest.raises(InputError, match="has no image"):
        read(store.source())


def test_layers_of_this_boot_alone_are_found(store: StoreWriter) -> None:
    top = store.layers.pop()
    store.list_again()
    store.write("overlay-layers/volatile-layers.json", json.dumps([top]).encode())
    assert len(read(store.source()).layers) == 2


def test_layers_that_go_round_in_a_circle_are_refused(store: StoreWriter) -> None:
    store.layers[0]["parent"] = store.layers[1]["id"]
    store.list_again()
    with pytest.raises(InputError, match="round in a circle"):
        read(store.source())


@pytest.mark.parametrize("which", ["images", "layers"])
def test_a_listing_that_names_a_thing_twice_is_refused(store: StoreWriter, which: str) -> None:
    """Two layers of one name with other content: whichever one took, the store could have meant the other."""
    listing: list[dict[str, Any]] = getattr(store, which)
    listing.append({**listing[0], "diff-size": 1})
    store.list_again()
    with pytest.raises(InputError, match=r"names [0-9a-f]{64} twice"):
        read(store.source())


@pytest.mark.parametrize("id", ["../../etc", "x", "", "A" * 64, "a" * 63 + "/"])
def test_an_id_that_is_none_is_refused(store: StoreWriter, id: str) -> None:
    store.layers[0]["id"] = id
    store.list_again()
    with pytest.raises(InputError, match="is not an id"):
        read(store.source())
    store.layers[0]["id"] = "a" * 64
    store.layers[1]["parent"] = f"{id}/"
    store.list_again()
    with pytest.raises(InputError, match="is not a layer's id"):
        read(store.source())


def test_another_config_or_manifest_is_refused(store: StoreWriter) -> None:
    kept = store.graphroot / "overlay-images" / str(store.images[0]["id"])
    manifest = kept / "manifest"
    original = manifest.read_bytes()
    manifest.write_bytes(b'{"schemaVersion":2,"manifests":[]}')
    with pytest.raises(InputError, match="no manifest of version 2"):
        read(store.source())
    manifest.write_bytes(original.replace(digest_of(store.config).encode(), digest_of(b"other").encode()))
    with pytest.raises(InputError, match=r"its configuration .* is not in the store"):
        read(store.source())
    manifest.write_bytes(original)
    config = next(path for path in kept.iterdir() if path.read_bytes() == store.config)
    config.write_bytes(store.config.replace(b"amd64", b"arm64"))
    found = store.source()
    assert str(found.root()) and digest_of(store.config) not in {str(read(found).key)}


def test_a_manifest_that_is_not_its_digest_gives_no_alias(store: StoreWriter) -> None:
    store.keep(f"manifest-{digest_of(b'another')}", store.manifest)
    store.keep(f"manifest-{digest_of(b'{}')}", b"{}")
    index = b'{"schemaVersion":2,"manifests":[{"digest":"%s"}]}' % digest_of(store.manifest).encode()
    store.keep(f"manifest-{digest_of(index)}", index)
    foreign = b'{"schemaVersion":2,"manifests":[{"digest":"%s"}]}' % digest_of(b"x").encode()
    store.keep(f"manifest-{digest_of(foreign)}", foreign)
    store.list_again()
    digests = {name for name in read(store.source()).aliases if name.startswith("sha256:")}
    assert digests == {digest_of(store.manifest), digest_of(index)}


def test_a_name_that_could_mean_several_images_is_refused() -> None:
    images = {id: ImageRecord(id=id, names=names) for id, names in (("a" * 64, ["x.io/a:1"]), ("ab" * 32, ["x.io/a:1"]))}
    for reference in ("x.io/a:1", "@a", "@aaa", "@ab", "ab"):
        found: object
        try:
            found = find_image(images, reference, "it")
        except InputError:
            found = "several"
        assert found in ({"@aaa": images["a" * 64]}.get(reference), "several" if reference == "x.io/a:1" else None)


def test_a_store_of_an_unknown_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(StoreWriter.source(_at(tmp_path / "none")))
    (tmp_path / "btrfs-images").mkdir()
    with pytest.raises(InputError, match="holds no images of containers-storage that can be read"):
        read(StoreWriter.source(_at(tmp_path)))


def _at(graphroot: Path) -> StoreWriter:
    writer = object.__new__(StoreWriter)
    writer.graphroot = graphroot
    return writer


def test_a_store_that_may_not_be_read_says_who_may(store: StoreWriter, tmp_path: Path) -> None:
    (store.diff() / "etc/passwd").chmod(0)
    image = f"containers-storage:[overlay@{store.graphroot}]{NAME}"
    command = [sys.executable, "-m", "intact", "baseline", "build", image, "-o", str(tmp_path / "out")]
    if not os.geteuid():  # as one who may not read everything
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == PermanentError.exit_code
    assert re.search(r"ermission denied.*podman unshare", done.stderr, re.S), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fails_is_told_without_a_traceback(store: StoreWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    source = store.source()
    source.root()
    monkeypatch.setattr("intact.adapters.containers_storage.tarsplit.os.pread", fail)
    with pytest.raises(PermanentError, match="Input/output error"):
        read(source)
