"""Images in memory, right or wrong in one chosen way: an implementation of ingest's port."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class MemorySource:
    """Blobs by digest. `read` counts how often each was opened."""

    name = "memory:test"

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.read: dict[str, int] = {}
        self.top: Descriptor | None = None

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def set_root(self, descriptor: dict[str, Any]) -> None:
        self.top = Descriptor(media_type=descriptor["mediaType"], digest=Digest.parse(descriptor["digest"]), size_bytes=descriptor["size"])

    def root(self) -> Descriptor:
        assert self.top is not None
        return self.top

    def aliases(self) -> tuple[str, ...]:
        return ("local/test:1",)

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        name = str(descriptor.digest)
        if name not in self.blobs:
            raise InputError(f"no blob {name}", code="BlobUnknown")
        self.read[name] = self.read.get(name, 0) + 1
        data = self.blobs[name]
        yield (data[at : at + 1000] for at in range(0, len(data), 1000))


def pack_json(document: object) -> bytes:
    return json.dumps(document).encode()


def make_image(tars: Sequence[bytes], *, compressed: bool = True, platform: str = "linux/amd64", **config: Any) -> MemorySource:
    """An image of these layers, its manifest at the top."""
    source = MemorySource()
    set_image(source, tars, compressed=compressed, platform=platform, **config)
    return source


def set_image(
    source: MemorySource, tars: Sequence[bytes], *, compressed: bool = True, platform: str = "linux/amd64", **config: Any
) -> dict[str, Any]:
    system, _, architecture = platform.partition("/")
    layers = [source.add(gzip.compress(tar) if compressed else tar, LAYER + ("+gzip" if compressed else "")) for tar in tars]
    diff_ids = ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]
    document = {"os": system, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}, **config}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": source.add(pack_json(document), CONFIG), "layers": layers}
    descriptor = source.add(pack_json(manifest), MANIFEST)
    source.set_root(descriptor)
    return descriptor
