"""Images from a real registry (Debian's docker-registry): the same baseline as from the layout they were pushed from, and clear errors."""

import os
import socket
import subprocess
import time
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

REPOSITORY = "team/app"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Registry:
    """A docker-registry of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"127.0.0.1:{free_port()}"
        configuration = directory / "config.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}"
        configuration.write_text(f"version: 0.1\nlog: {{level: error}}\n{storage}\nhttp: {{addr: '{self.host}'}}\n")
        self.log = (directory / "log").open("wb")
        self.process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        host, _, port = self.host.partition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def source(self, reference: str) -> BlobSource:
        opened = open_image(
            parse_image_name(f"docker://{self.host}/{REPOSITORY}{reference}"), access=RegistryAccess(plain_http=frozenset({self.host}))
        )
        assert not hasattr(opened, "path")
        return opened

    def blob(self, digest: str) -> Path:
        value = digest.removeprefix("sha256:")
        return self.directory / "data/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


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
        found = ingest(registry.source(reference))
        assert (found.key, found.root) == (expected.key, expected.root)
        assert f"{registry.host}/{REPOSITORY}@{image.manifest_digest}" in found.aliases
        assert found.source == f"docker://{registry.host}/{REPOSITORY}@{image.manifest_digest}"


def test_an_image_that_is_not_there_is_an_input_error(registry: Registry, image: ImageLayout) -> None:
    for reference in (":none", "@sha256:" + "0" * 64):
        with pytest.raises(InputError, match="has no image"):
            ingest(registry.source(reference))


def test_a_registry_that_alters_a_layer_is_caught(registry: Registry, image: ImageLayout) -> None:
    (layer, *_) = sorted(image.directory.glob("blobs/sha256/*"), key=lambda path: -path.stat().st_size)
    stored = registry.blob("sha256:" + layer.name)
    original = stored.read_bytes()
    stored.write_bytes(original[:1000] + bytes([original[1000] ^ 1]) + original[1001:])
    try:
        with pytest.raises(TrustError, match="has the digest"):
            ingest(registry.source(":1"))
    finally:
        stored.write_bytes(original)


def test_a_registry_that_alters_a_manifest_is_caught(registry: Registry, image: ImageLayout) -> None:
    stored = registry.blob(image.manifest_digest)
    original = stored.read_bytes()
    stored.write_bytes(original.replace(b'"schemaVersion":2', b'"schemaVersion" :2', 1))
    try:
        with pytest.raises((TrustError, InputError)):
            ingest(registry.source(f"@{image.manifest_digest}"))
    finally:
        stored.write_bytes(original)


def test_plain_http_is_only_for_hosts_that_were_named(registry: Registry, image: ImageLayout) -> None:
    source = open_image(parse_image_name(f"docker://{registry.host}/{REPOSITORY}:1"))
    with pytest.raises(TemporaryError, match="cannot be reached"):
        ingest(source)  # type: ignore[arg-type]


def test_a_dead_registry_is_a_temporary_error_in_any_state(tmp_path: Path, image: ImageLayout) -> None:
    registry = Registry(tmp_path)
    image.push(registry.host, f"{REPOSITORY}:1")
    source = registry.source(":1")
    root = source.root()
    registry.stop()
    with pytest.raises(TemporaryError, match="cannot be reached"):
        ingest(source)
    with pytest.raises(TemporaryError, match="cannot be reached"), registry.source(":1").open(root) as chunks:
        list(chunks)
