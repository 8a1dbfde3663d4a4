"""The parsers of images on disk, on anything: a value or an expected error, soon, and never anything else.

INTACT_FUZZ_EXAMPLES sets how long to try.
"""

import contextlib
import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from intact.adapters.containers_storage.beneath import Beneath
from intact.adapters.containers_storage.place import default_place
from intact.adapters.containers_storage.records import document_file, parse_images, parse_layers
from intact.adapters.containers_storage.tarsplit import MAX_LINE_BYTES, measure_tar, read_pieces, rebuild_tar
from intact.adapters.layout.archive import ArchiveSource
from intact.adapters.layout.names import parse_image_name
from intact.adapters.layout.oci import LayoutArchiveSource
from intact.ingest.image import ingest
from intact.model.errors import InputError, IntactError
from lab import layers
from tests.fuzz.test_ingest_fuzz import FUZZ, damaged
from tests.unit.adapters.containers_storage.stores import MANIFEST, StoreWriter, digest_of, entry, pack_pieces, segment, split_tar

TAR = layers.build_tar([layers.directory(b"/etc"), layers.file(b"/etc/x", b"content" * 90), layers.file(b"/\xff", b"odd")])
PIECES = split_tar(TAR)
LINES = gzip.decompress(pack_pieces(PIECES))
MAX_BYTES = 1 << 20
CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(TAR)]}}).encode()
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda part: st.lists(part) | st.dictionaries(st.text(), part)
)


def read_all(data: bytes) -> None:
    with contextlib.suppress(InputError):
        assert measure_tar(read_pieces([data], max_bytes=MAX_BYTES, layer="fuzz")) >= 0


@given(damaged(pack_pieces(PIECES)) | st.binary(max_size=500))
@settings(FUZZ)
def test_compressed_tar_splits(data: bytes) -> None:
    read_all(data)


@given(damaged(LINES) | st.binary(max_size=500), st.integers(1, 2000))
@settings(FUZZ)
def test_lines_of_tar_splits_in_any_chunks(data: bytes, step: int) -> None:
    packed = gzip.compress(data, 1)
    read_all(packed)
    with contextlib.suppress(InputError):
        chunks = (packed[at : at + step] for at in range(0, len(packed), step))
        assert all(len(piece.payload or b"") <= MAX_LINE_BYTES for piece in read_pieces(chunks, max_bytes=MAX_BYTES, layer="fuzz"))


NAMES = st.sampled_from([b"x", b"../x", b"/x", b"dir/../x", b"dir", b"out/secret", b"loop", b"fifo", b"."]) | st.binary(max_size=40)


@given(st.lists(st.tuples(NAMES, st.integers(0, 700)) | st.binary(max_size=600), max_size=8))
@settings(FUZZ)
def test_a_rebuilt_tar_has_nothing_but_what_lies_in_the_layer(pieces: list[tuple[bytes, int] | bytes]) -> None:
    with TemporaryDirectory() as top:
        Path(top, "secret").write_bytes(b"SECRET")
        layer = Path(top, "layer")
        (layer / "dir").mkdir(parents=True)
        (layer / "x").write_bytes(b"inside" * 100)
        (layer / "out").symlink_to(top)
        (layer / "loop").symlink_to("loop")
        packed = pack_pieces([segment(piece) if isinstance(piece, bytes) else entry(*piece) for piece in pieces])
        with contextlib.suppress(IntactError), Beneath.open(layer) as files:
            parts = rebuild_tar(read_pieces([packed], max_bytes=MAX_BYTES, layer="fuzz"), files, layer="fuzz")
            given_ = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            rebuilt = b"".join(parts)
            assert len(rebuilt) == len(given_) + 600 * sum(not isinstance(piece, bytes) and piece[1] == 600 for piece in pieces)
            assert b"SECRET" in given_ or b"SECRET" not in rebuilt


LISTING = json.dumps([{"id": "a" * 64, "names": ["x:1"], "layer": "b" * 64, "parent": "b" * 64, "diff-size": 5, "big-data-names": ["m"]}])


@given(damaged(LISTING.encode()) | st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(FUZZ)
def test_listings(data: bytes) -> None:
    for parse in (parse_images, parse_layers):
        with contextlib.suppress(InputError):
            assert all(len(id) == 64 for id in parse(data, "fuzz"))


@given(st.text(max_size=60))
@settings(FUZZ)
def test_names_of_kept_documents_differ_where_the_documents_do(name: str) -> None:
    file = document_file(name)
    assert file == name or file.startswith("=")
    assert file not in (".", "..") or name == file


@given(st.fixed_dictionaries({}, optional={"diff-size": st.integers(), "parent": HEX, "flags": JSON, "id": HEX}))
@settings(FUZZ, max_examples=60)
def test_a_layer_that_lies_in_its_listing_is_proven_or_refused(change: dict[str, object]) -> None:
    with TemporaryDirectory() as top:
        store = StoreWriter(Path(top), [TAR])
        store.layers[0] |= change
        store.list_again()
        source = store.source()
        with contextlib.suppress(IntactError):
            assert str(ingest(source).layers[0].diff_id) == digest_of(TAR)
        source.close()


@given(st.text(max_size=60).map("containers-storage:".__add__) | st.text("[]@+/:ab", max_size=30).map("containers-storage:[".__add__))
@settings(FUZZ)
def test_names_of_stores(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_image_name(text)


@given(
    damaged(b'[storage]\ndriver = "overlay"\ngraphroot = "/g"\n[storage.options]\nadditionalimagestores = ["/a"]\n')
    | st.binary(max_size=200)
)
@settings(FUZZ)
def test_storage_configurations(data: bytes) -> None:
    with TemporaryDirectory() as top:
        file = Path(top, "storage.conf")
        file.write_bytes(data)
        with contextlib.suppress(InputError):
            default_place({}, uid=0, system=(file,))


def archive(files: dict[str, bytes]) -> bytes:
    return layers.build_tar([layers.file(b"/" + name.encode(), data) for name, data in files.items()])


DESCRIBED = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(CONFIG), "size": len(CONFIG)}
LAYERS = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(TAR), "size": len(TAR)}]
DOCUMENT = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": DESCRIBED, "layers": LAYERS}).encode()
INDEX = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": digest_of(DOCUMENT), "size": len(DOCUMENT)}]}
BLOBS = {f"blobs/sha256/{digest_of(data)[7:]}": data for data in (CONFIG, DOCUMENT, TAR)}
OCI_ARCHIVE = archive({"index.json": json.dumps(INDEX).encode(), **BLOBS})
DOCKER_ARCHIVE = archive({"manifest.json": b'[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]', "c.json": CONFIG, "l.tar": TAR})


@given(damaged(OCI_ARCHIVE) | damaged(DOCKER_ARCHIVE) | st.binary(max_size=2000))
@settings(FUZZ)
def test_archives(data: bytes) -> None:
    """Whatever is read of a damaged archive is the very layer that was packed."""
    with TemporaryDirectory() as top:
        file = Path(top, "a.tar")
        file.write_bytes(data)
        for source in (LayoutArchiveSource(file), ArchiveSource(file)):
            with contextlib.suppress(IntactError):
                assert all(str(layer.diff_id) == digest_of(TAR) for layer in ingest(source).layers)
