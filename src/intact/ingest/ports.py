"""What ingest needs from the world: a place that holds an image's blobs (a registry, a runtime's content store, a layout on disk)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from intact.model.digest import Digest

SYNTHETIC_MANIFEST = "application/vnd.intact.manifest.v1+json"
"""Type of a manifest that a source made up because its form of image has none (docker-archive): its digest names nothing elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob by content (image-spec, descriptor.md). `size_bytes` None: the source does not know it before reading."""

    media_type: str
    digest: Digest
    size_bytes: int | None = None


class BlobSource(Protocol):
    """Blobs of one image, by digest. Whoever reads them verifies size and digest: a source is never believed."""

    @property
    def name(self) -> str:
        """In skopeo's notation: `docker://repo@sha256:…`, `containerd:NAME`, `oci:DIR:TAG`."""

    def root(self) -> Descriptor:
        """The manifest or index to start from. Raises InputError (no such image) or TemporaryError (not reachable)."""

    def aliases(self) -> tuple[str, ...]:
        """Other names by which the runtime or people call this image."""

    def open(self, descriptor: Descriptor) -> AbstractContextManager[Iterator[bytes]]:
        """The blob's raw bytes in chunks of any size. Raises InputError if the source does not have it."""
