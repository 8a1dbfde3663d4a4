"""Images from a real registry (Debian's docker-registry): the same baseline as from the layout they were pushed from, and clear errors."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.layout.names import open_image, parse_image_name
from intact.adapters.layout.oci import LayoutSource
from intact.adapters.registry.access import RegistryAccess
from intact.ingest.image import ingest
from intact.ingest.ports import BlobSource
from intact.model.errors import InputError, TemporaryError, TrustError
from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, write_layout
from lab.registries import Registry

REPOSITORY = "team/app"


def source(registry: Registry, reference: str) -> BlobSource:
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    opened = open_image(parse_image_name(f"docker://{registry.host}/{REPOSITORY}{reference}"), access=access)
    assert not hasattr(opened, "path")
    return opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    directory = tmp_path_factory.mktemp("image")
    noise = os.urandom(3_000_000)
    packed = [pack_entries([layers.file(b"/lib/noise", noise)], directory), pack_entries([layers.file(b"/app", b"1")], directory, "zstd")]
    image = write_layout(directory / "layout", "docker.io/local/app:1", packed)
    image.push(registry.host, f"{REPOSITORY}:1")
    return image


def test_an_image_by_tag_and_by_digest_is_the_one_that_was_pushed(registry: Registry, image: ImageLayout) -> None:
    expected = ingest(LayoutSource(image.directory))
    for reference in (":1", f"@{image.manifest_digest}"):
        found = ingest(source(registry, reference))
        assert (found.key, found.root) == (expected.key, expected.root)
        assert f"{registry.host}/{REPOSITORY}@{image.manifest_digest}" in found.aliases
        assert found.source == f"docker://{registry.host}/{REPOSITORY}@{image.manifest_digest}"


def test_an_image_that_is_not_there_is_an_input_error(registry: Registry, image: ImageLayout) -> None:
    for reference in (":none", "@sha256:" + "0" * 64):
        with pytest.raises(InputError, match="has no image"):
            ingest(source(registry, reference))


def test_a_registry_that_alters_a_layer_is_caught(registry: Registry, image: ImageLayout) -> None:
    (layer, *_) = sorted(image.directory.glob("blobs/sha256/*"), key=lambda path: -path.stat().st_size)
    stored = registry.blob("sha256:" + layer.name)
    original = stored.read_bytes()
    stored.write_bytes(original[:1000] + bytes([original[1000] ^ 1]) + original[1001:])
    try:
        with pytest.raises(TrustError, match="has the digest"):
            ingest(source(registry, ":1"))
    finally:
        stored.write_bytes(original)


def test_a_registry_that_alters_a_manifest_is_caught(registry: Registry, image: ImageLayout) -> None:
    stored = registry.blob(image.manifest_digest)
    original = stored.read_bytes()
    stored.write_bytes(original.replace(b'"schemaVersion":2', b'"schemaVersion" :2', 1))
    try:
        with pytest.raises((TrustError, InputError)):
            ingest(source(registry, f"@{image.manifest_digest}"))
    finally:
        stored.write_bytes(original)


def test_plain_http_is_only_for_hosts_that_were_named(registry: Registry, image: ImageLayout) -> None:
    source = open_image(parse_image_name(f"docker://{registry.host}/{REPOSITORY}:1"))
    with pytest.raises(TemporaryError, match="cannot be reached"):
        ingest(source)  # type: ignore[arg-type]


def test_a_dead_registry_is_a_temporary_error_in_any_state(tmp_path: Path, image: ImageLayout) -> None:
    registry = Registry(tmp_path)
    image.push(registry.host, f"{REPOSITORY}:1")
    opened = source(registry, ":1")
    root = opened.root()
    registry.stop()
    with pytest.raises(TemporaryError, match="cannot be reached"):
        ingest(opened)
    with pytest.raises(TemporaryError, match="cannot be reached"), source(registry, ":1").open(root) as chunks:
        list(chunks)
