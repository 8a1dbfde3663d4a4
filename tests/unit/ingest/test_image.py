"""An image counts only if every step of the verification holds; the numbers are those of `intact.ingest.image`."""

import hashlib
import json
from typing import Any

import pytest

from intact.ingest.image import Progress, ingest
from intact.ingest.limits import Limits
from intact.model.digest import Digest
from intact.model.errors import InputError, TrustError
from intact.model.layer import Form, Grade
from lab import layers
from tests.unit.ingest.sources import CONFIG, INDEX, LAYER, MANIFEST, MemorySource, make_image, pack_json, set_image

BASE = layers.build_tar([layers.directory(b"/etc"), layers.file(b"/etc/passwd", b"root"), layers.file(b"/bin/sh", b"#!" * 5000, 0o755)])
UPPER = layers.build_tar([layers.whiteout(b"/etc/passwd"), layers.file(b"/etc/new", b"1")])


def blob(source: MemorySource, media_type: str) -> tuple[str, Any]:
    """The document of a type in the source: digest and content."""
    for digest, data in source.blobs.items():
        if data.startswith(b"{"):
            document = json.loads(data)
            if (media_type == CONFIG) == ("rootfs" in document):
                return digest, document
    raise LookupError(media_type)


def with_manifest(source: MemorySource, change: dict[str, Any]) -> MemorySource:
    _, manifest = blob(source, MANIFEST)
    source.set_root(source.add(pack_json(manifest | change), MANIFEST))
    return source


def test_an_image_is_keyed_by_its_config_and_verified() -> None:
    source = make_image([BASE, UPPER])
    baseline = ingest(source)
    assert str(baseline.key) == blob(source, CONFIG)[0]
    manifest = str(source.root().digest)
    assert baseline.aliases == ("local/test:1", manifest, f"local/test@{manifest}")
    assert (baseline.grade, baseline.platform) == (Grade.VERIFIED, "linux/amd64")
    assert [layer.form for layer in baseline.layers] == [Form.PLAIN, Form.STACKED]
    assert [entry.path for entry in baseline.scan()] == [b"/", b"/bin", b"/bin/sh", b"/etc", b"/etc/new"]


def test_1_a_root_document_of_another_digest_or_size_is_refused() -> None:
    source = make_image([BASE])
    name = str(source.root().digest)
    source.blobs[name] = source.blobs[name].replace(b"amd64", b"arm64") + b" "
    with pytest.raises(TrustError, match="bytes, not"):
        ingest(source)
    source.blobs[name] = source.blobs[name][:-1].replace(b"schemaVersion", b"schemaversion")
    with pytest.raises(TrustError, match="has the digest"):
        ingest(source)


def test_1_a_document_is_bounded() -> None:
    with pytest.raises(InputError, match=r"longer than|more than"):
        ingest(make_image([BASE]), limits=Limits(document_bytes=100))


def make_index(*platforms: str) -> MemorySource:
    source = MemorySource()
    manifests = []
    for number, platform in enumerate(platforms):
        descriptor = set_image(source, [layers.build_tar([layers.file(b"/n", b"%d" % number)])], platform=platform)
        system, _, architecture = platform.partition("/")
        manifests.append(descriptor | {"platform": {"os": system, "architecture": architecture}})
    source.set_root(source.add(pack_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), INDEX))
    return source


def test_2_an_index_gives_the_wanted_platform_and_its_digest_as_an_alias() -> None:
    source = make_index("linux/amd64", "linux/arm64", "unknown/unknown")
    baseline = ingest(source, platform="linux/arm64")
    assert baseline.platform == "linux/arm64"
    index = str(source.root().digest)
    manifest = json.loads(source.blobs[index])["manifests"][1]["digest"]
    assert baseline.aliases == ("local/test:1", index, manifest, f"local/test@{index}", f"local/test@{manifest}")
    with pytest.raises(InputError, match=r"no image for linux/s390x.*linux/amd64"):
        ingest(source, platform="linux/s390x")


def test_4_a_config_of_another_platform_than_its_index_says_is_refused() -> None:
    source = make_index("linux/amd64")
    document = json.loads(source.blobs[str(source.root().digest)])
    document["manifests"][0]["platform"]["architecture"] = "arm64"
    source.set_root(source.add(pack_json(document), INDEX))
    with pytest.raises(InputError, match="is for linux/amd64"):
        ingest(source, platform="linux/arm64")


def test_4_a_config_with_fewer_diff_ids_than_layers_is_refused() -> None:
    source = make_image([BASE])
    layer = source.add(UPPER, LAYER)
    _, manifest = blob(source, MANIFEST)
    with pytest.raises(InputError, match="2 layers, but 1 diff_ids"):
        ingest(with_manifest(source, {"layers": [*manifest["layers"], layer]}))


def test_5_an_altered_layer_blob_is_refused() -> None:
    source = make_image([BASE], compressed=False)
    name = "sha256:" + hashlib.sha256(BASE).hexdigest()
    source.blobs[name] = BASE.replace(b"root", b"r00t")
    with pytest.raises(TrustError, match="has the digest"):
        ingest(source)
    source.blobs[name] = BASE + bytes(512)
    with pytest.raises(TrustError, match="longer than"):
        ingest(source)
    source.blobs[name] = BASE[:-512]
    with pytest.raises(TrustError, match="bytes, not"):
        ingest(source)


def test_6_a_layer_that_is_not_its_diff_id_is_refused() -> None:
    source = make_image([BASE])
    wrong = make_image([UPPER])
    source.blobs |= wrong.blobs
    with pytest.raises(TrustError, match="not to its diff_id"):
        ingest(with_manifest(source, {"layers": blob(wrong, MANIFEST)[1]["layers"]}))


def test_6_trailing_data_of_the_tar_stream_counts() -> None:
    assert ingest(make_image([BASE + b"after the end" * 1000])).root != ingest(make_image([BASE])).root


def test_a_layer_of_an_unknown_or_encrypted_type_is_refused_before_any_layer_is_read() -> None:
    for media_type in ("application/octet-stream", LAYER + "+gzip+encrypted", LAYER + "+lz4"):
        source = make_image([BASE])
        _, manifest = blob(source, MANIFEST)
        layer = manifest["layers"][0] | {"mediaType": media_type}
        with pytest.raises(InputError, match="layer type"):
            ingest(with_manifest(source, {"layers": [layer]}))
        assert layer["digest"] not in source.read


def test_a_foreign_layer_that_is_not_there_is_named() -> None:
    source = make_image([BASE])
    _, manifest = blob(source, MANIFEST)
    layer = manifest["layers"][0] | {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}
    del source.blobs[layer["digest"]]
    with pytest.raises(InputError, match="non-distributable"):
        ingest(with_manifest(source, {"layers": [layer]}))


def test_a_known_layer_is_not_read_again_unless_its_place_changes_its_meaning() -> None:
    first = ingest(make_image([BASE, UPPER]))
    tables = {layer.diff_id: layer for layer in first.layers}
    source = make_image([BASE, UPPER])
    seen: list[Progress] = []
    assert ingest(source, known_layers=tables.get, progress=seen.append).root == first.root
    assert [at.known for at in seen] == [True, True]
    assert not [name for name in source.read if not source.blobs[name].startswith(b"{")]
    alone = ingest(make_image([UPPER]), known_layers=tables.get)
    assert alone.layers[0].form is Form.BASE
    assert [record.entry is None for record in alone.layers[0].scan()] == [False, False, False]


@pytest.mark.parametrize(
    "text", [b"[]", b"{", b"\xff", b'{"layers":1,"layers":2}', b'{"Layers":[]}', b"[" * 100_000, b'{"schemaVersion":1}']
)
def test_a_manifest_that_two_parsers_could_read_differently_is_refused(text: bytes) -> None:
    source = MemorySource()
    source.set_root(source.add(text, MANIFEST))
    with pytest.raises(InputError):
        ingest(source)


def test_a_key_spelled_in_another_case_deep_in_the_config_is_refused() -> None:
    source = make_image([BASE], RootFS={"type": "layers", "diff_ids": [str(Digest.of(UPPER))]})
    with pytest.raises(InputError, match="RootFS"):
        ingest(source)
