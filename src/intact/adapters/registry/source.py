"""`docker://HOST/REPO[:TAG][@DIGEST]` as a BlobSource. A tag is resolved once; whoever reads verifies every byte against its digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, TrustError

from .client import CHUNK_BYTES, RegistryClient, read_bounded

MAX_MANIFEST_BYTES = 8 << 20
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_MANIFESTS = frozenset(ACCEPT.split(", "))


class RegistrySource:
    """One image of a registry."""

    def __init__(self, host: str, repository: str, reference: str, *, plain_http: frozenset[str] = frozenset()) -> None:
        """`reference` is a tag or a digest; `plain_http` names the hosts that may be asked without TLS."""
        self._host, self._repository, self._reference = host, repository, reference
        self._client = RegistryClient(host, plain_http=plain_http)
        self._root: Descriptor | None = None
        self._manifests: dict[Digest, bytes] = {}

    @property
    def name(self) -> str:
        if self._root is not None:
            return f"docker://{self._host}/{self._repository}@{self._root.digest}"
        return f"docker://{self._host}/{self._repository}{'@' if ':' in self._reference else ':'}{self._reference}"

    def root(self) -> Descriptor:
        """Raises InputError (no such image), TemporaryError (not reachable), TrustError (another digest than asked for)."""
        if self._root is None:
            media_type, data = self._fetch_manifest(self._reference)
            digest = Digest.of(data)
            if ":" in self._reference:
                wanted = Digest.parse(self._reference)
                digest = Digest.of(data, wanted.algorithm)
                if digest != wanted:
                    raise TrustError(f"{self.name}: the registry answers with {digest}", code="BlobDigest", hint="the registry lies")
            self._manifests[digest] = data
            self._root = Descriptor(media_type=media_type, digest=digest, size_bytes=len(data))
        return self._root

    def aliases(self) -> tuple[str, ...]:
        root = self.root()
        tag = () if ":" in self._reference else (f"{self._host}/{self._repository}:{self._reference}",)
        return (f"{self._host}/{self._repository}@{root.digest}", *tag)

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        if descriptor.digest in self._manifests:
            yield iter((self._manifests[descriptor.digest],))
        elif descriptor.media_type in _MANIFESTS:
            yield iter((self._fetch_manifest(str(descriptor.digest))[1],))
        else:
            path = f"{self._repository}/blobs/{descriptor.digest}"
            with self._client.get(path, scope=self._scope) as response:
                yield response.iter_raw(CHUNK_BYTES)

    def close(self) -> None:
        self._client.close()

    @property
    def _scope(self) -> str:
        return f"repository:{self._repository}:pull"

    def _fetch_manifest(self, reference: str) -> tuple[str, bytes]:
        path = f"{self._repository}/manifests/{reference}"
        try:
            with self._client.get(path, accept=ACCEPT, scope=self._scope) as response:
                data = read_bounded(response, MAX_MANIFEST_BYTES, self._host)
                return response.headers.get("content-type", "").partition(";")[0].strip(), data
        except InputError as error:
            if error.code == "BlobUnknown":
                name = f"{self._host}/{self._repository}"
                raise InputError(
                    f"{name} has no image {reference}", code="NoSuchImage", hint="check repository and tag or digest"
                ) from None
            raise
