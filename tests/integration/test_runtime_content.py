"""Blobs of images from containerd's content store, against the layout that they were imported from."""

import json
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.runtime.content import ContainerdSource
from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, TemporaryError
from lab import images, layers, oci
from lab.runtime import Runtime

SPACE = "content"
NAME = "docker.io/local/content:1"


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    """One layer of each compression is not needed here: a store keeps bytes as they are. One layer is larger than a window of HTTP/2."""
    directory = tmp_path_factory.mktemp("content")
    noise = b"".join(Digest.of(number.to_bytes(8, "big")).value for number in range(300_000))
    image = images.busybox_image(directory, NAME, upper_layers=[[layers.file(b"/noise", noise)]])
    runtime.import_image(image, namespace=SPACE)
    return image


def read(source: ContainerdSource, descriptor: Descriptor) -> bytes:
    with source.open(descriptor) as chunks:
        return b"".join(chunks)


def describe(document: dict[str, Any]) -> Descriptor:
    return Descriptor(media_type=document["mediaType"], digest=Digest.parse(document["digest"]), size_bytes=document["size"])


def test_every_blob_is_the_layouts(runtime: Runtime, image: oci.ImageLayout) -> None:
    source = ContainerdSource(NAME, str(runtime.address), SPACE)
    root = source.root()
    assert str(root.digest) == image.manifest_digest
    manifest = json.loads(read(source, root))
    for document in (manifest["config"], *manifest["layers"]):
        blob = read(source, describe(document))
        assert blob == (image.directory / "blobs/sha256" / document["digest"].removeprefix("sha256:")).read_bytes()
        assert len(blob) == document["size"]
    assert max(layer["size"] for layer in manifest["layers"]) > 8 << 20
    assert source.name == f"containerd:{NAME}"
    assert set(source.aliases()) == {NAME, image.manifest_digest}
    source.close()


@pytest.mark.parametrize("what", ["manifest_digest", "config_digest"])
def test_an_image_is_found_by_its_digests(runtime: Runtime, image: oci.ImageLayout, what: str) -> None:
    source = ContainerdSource(getattr(image, what), str(runtime.address))
    assert str(source.root().digest) == image.manifest_digest
    source.close()


@pytest.mark.parametrize("name", ["local/content:1", NAME])
def test_names_are_understood_as_people_shorten_them(runtime: Runtime, image: oci.ImageLayout, name: str) -> None:
    source = ContainerdSource(name, str(runtime.address))
    assert str(source.root().digest) == image.manifest_digest
    source.close()


def test_an_image_that_is_not_there_is_named_with_where_it_was_sought(runtime: Runtime, image: oci.ImageLayout) -> None:
    with pytest.raises(InputError, match=r"no image 'absent:1' \(namespaces: .*content"):
        ContainerdSource("absent:1", str(runtime.address)).root()
    with pytest.raises(InputError, match="no image"):
        ContainerdSource("sha256:" + "0" * 64, str(runtime.address)).root()
    with pytest.raises(InputError, match=r"namespaces: elsewhere"):
        ContainerdSource(NAME, str(runtime.address), "elsewhere").root()


def test_a_discarded_layer_says_so(runtime: Runtime, tmp_path: Path) -> None:
    name = "docker.io/local/discarded:1"
    image = images.busybox_image(tmp_path, name, files={b"/only": b"here\n"})
    runtime.import_image(image, namespace=SPACE)
    source = ContainerdSource(name, str(runtime.address), SPACE)
    layer = describe(json.loads(read(source, source.root()))["layers"][0])
    runtime.ctr("content", "rm", str(layer.digest), namespace=SPACE)
    with pytest.raises(InputError, match="discard") as caught, source.open(layer):
        pass
    assert caught.value.code == "BlobMissing"
    source.close()


def test_no_runtime_is_temporary(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError):
        ContainerdSource(NAME, str(tmp_path / "nobody.sock")).root()


def test_a_blob_that_is_left_half_read_costs_nothing(runtime: Runtime, image: oci.ImageLayout) -> None:
    source = ContainerdSource(NAME, str(runtime.address), SPACE)
    layer = describe(json.loads(read(source, source.root()))["layers"][1])
    with source.open(layer) as chunks:
        assert next(chunks)
    assert len(read(source, layer)) == layer.size_bytes
    source.close()
