"""An image's blobs from containerd's content store: a `BlobSource` of `ingest`.

In: an image's name as the runtime has it, or the digest of its index, manifest or config. Out: blobs by digest, unverified: whoever reads
them checks size and digest. Never reads the store's files, never fetches anything from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Final

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, TrustError

from .client import Client
from .grpc import NotFound
from .images import MAX_DOCUMENT_BYTES, Images

NAMESPACES: Final = ("k8s.io", "default", "moby")
"""Where an image is looked for first when no namespace is named."""
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


class ContainerdSource:
    """The image `image` of the runtime at `socket`; `namespace` None: the first one that has it."""

    def __init__(self, image: str, socket: str, namespace: str | None = None) -> None:
        self._image = image
        self._namespace = namespace
        self._client = Client(socket)
        self._found: tuple[str, Descriptor] | None = None

    @property
    def name(self) -> str:
        return f"containerd:{self._image}"

    def root(self) -> Descriptor:
        """The manifest or index that the name stands for. Raises InputError (no such image) or TemporaryError (no runtime)."""
        return self._locate()[1]

    def aliases(self) -> tuple[str, ...]:
        """The digest of the root and every name under which the runtime knows it, sorted."""
        namespace, root = self._locate()
        names = {image.name for image in self._client.images(namespace) if image.target.digest == str(root.digest)}
        return tuple(sorted({*names, str(root.digest)}))

    @contextlib.contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """The blob's bytes as the image has them, compressed or not. Raises InputError where the store does not have it."""
        namespace, _ = self._locate()
        try:
            self._client.blob_size_bytes(namespace, descriptor.digest)
        except NotFound:
            message = f"{descriptor.digest} of {self.name} is not in the runtime's content store"
            hint = "runtimes may discard layers after unpacking them, or leave out other platforms: use docker:// to read the registry"
            raise InputError(message, code="BlobMissing", hint=hint) from None
        with self._client.open_blob(namespace, descriptor.digest) as chunks:
            yield chunks

    def close(self) -> None:
        self._client.close()

    def _locate(self) -> tuple[str, Descriptor]:
        """The namespace that has the image, and its root; looked up once, so that a name that moves meanwhile changes nothing."""
        if self._found is None:
            namespaces = self._order_namespaces()
            for namespace in namespaces:
                root = self._find_named(namespace) or self._find_digest(namespace)
                if root is not None:
                    self._found = namespace, root
                    return self._found
            where = ", ".join(namespaces) or "none"
            raise InputError(
                f"{self._client.socket} has no image {self._image!r} (namespaces: {where})",
                code="ImageMissing",
                hint="names are the full ones of `ctr images list`, such as docker.io/library/nginx:1.27",
            )
        return self._found

    def _order_namespaces(self) -> tuple[str, ...]:
        if self._namespace is not None:
            return (self._namespace,)
        there = self._client.namespaces()
        return (*(name for name in NAMESPACES if name in there), *(name for name in there if name not in NAMESPACES))

    def _find_named(self, namespace: str) -> Descriptor | None:
        for name in _spell(self._image):
            try:
                target = self._client.image(namespace, name).target
            except NotFound:
                continue
            return Descriptor(media_type=target.media_type, digest=Digest.parse(target.digest), size_bytes=target.size)
        return None

    def _find_digest(self, namespace: str) -> Descriptor | None:
        """The root for a digest: of an index or manifest itself, or of the image whose config it is."""
        try:
            digest = Digest.parse(self._image)
        except InputError:
            return None
        images = Images(self._client)
        for image in self._client.images(namespace):
            target = Digest.parse(image.target.digest)
            if digest == target or _has_config(images, namespace, target, digest):
                return Descriptor(media_type=image.target.media_type, digest=target, size_bytes=image.target.size)
        try:
            size_bytes = self._client.blob_size_bytes(namespace, digest)
            document = json.loads(self._client.read_blob(namespace, digest, max_bytes=MAX_DOCUMENT_BYTES))
        except (NotFound, ValueError, RecursionError):
            return None
        media_type = _media_type(document)
        return Descriptor(media_type=media_type, digest=digest, size_bytes=size_bytes) if media_type else None


def _spell(name: str) -> tuple[str, ...]:
    """The name, and what people leave out of it: docker.io, library/ and :latest are understood (distribution/reference)."""
    first, _, rest = name.partition("/")
    if not rest:
        full = f"docker.io/library/{name}"
    elif "." in first or ":" in first or first == "localhost":
        full = name
    else:
        full = f"docker.io/{name}"
    if ":" not in full.rpartition("/")[2] and "@" not in full:
        full += ":latest"
    return (name, full)


def _has_config(images: Images, namespace: str, target: Digest, config: Digest) -> bool:
    try:
        return images.config_of(namespace, target) == config
    except (InputError, TrustError):
        return False  # its content is gone or broken, it is of another platform, or it is not an image


def _media_type(document: Any) -> str:
    """What a stored document is, by its own word or its form; empty for neither an index nor a manifest."""
    if not isinstance(document, dict) or not ("manifests" in document or "layers" in document):
        return ""
    named = document.get("mediaType")
    return named if isinstance(named, str) and named else _INDEX if "manifests" in document else _MANIFEST
