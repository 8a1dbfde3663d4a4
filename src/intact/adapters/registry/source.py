"""`docker://HOST/REPO[:TAG][@DIGEST]` as a BlobSource, read from its mirrors and its registry, whichever serves it first.

A tag is resolved once; whoever reads verifies every byte against its digest, whoever served it. What was tried and who served is told in
`notes`. May be read by several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError

from .access import RegistryAccess
from .client import RepositoryClient

MAX_MANIFEST_BYTES = 8 << 20
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
MANIFEST_TYPES = frozenset(ACCEPT.split(", "))

T = TypeVar("T")


class RegistrySource:
    """One image of a registry."""

    def __init__(self, host: str, repository: str, reference: str, *, access: RegistryAccess | None = None, actions: str = "pull") -> None:
        """`reference` is a tag or a digest; `actions`: what is meant to be done with the repository, for its tokens."""
        self._host, self._repository, self._reference = host, repository, reference
        access = access or RegistryAccess()
        self._clients = [RepositoryClient(access, endpoint, actions=actions) for endpoint in access.endpoints(host, repository)]
        self._root: Descriptor | None = None
        self._manifests: dict[Digest, bytes] = {}
        self._failed: dict[str, str] = {}
        self._served: dict[str, None] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        if self._root is not None:
            return f"docker://{self._host}/{self._repository}@{self._root.digest}"
        return f"docker://{self._host}/{self._repository}{'@' if ':' in self._reference else ':'}{self._reference}"

    def root(self) -> Descriptor:
        """Raises InputError (no such image), TemporaryError (not reachable), TrustError (another digest than asked for)."""
        if self._root is None:
            wanted = Digest.parse(self._reference) if ":" in self._reference else None
            media_type, data = self._anywhere(lambda client: fetch_manifest(client, self._reference, wanted))
            digest = wanted or Digest.of(data)
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
        elif descriptor.media_type in MANIFEST_TYPES:
            yield iter((self._anywhere(lambda client: fetch_manifest(client, str(descriptor.digest), descriptor.digest))[1],))
        else:
            chunks = self._stream(descriptor)
            try:
                yield chain((next(chunks, b""),), chunks)  # whether it is there at all is known now
            finally:
                chunks.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """Who served, and which mirrors failed and why; empty where there are no mirrors."""
        if len(self._clients) == 1:
            return ()
        with self._lock:
            failed = tuple(f"{name} failed: {reason}" for name, reason in self._failed.items())
            return (*failed, *(f"served by {name}" for name in self._served))

    @property
    def clients(self) -> tuple[RepositoryClient, ...]:
        """Those of the mirrors, in order, then the registry's own."""
        return tuple(self._clients)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _stream(self, descriptor: Descriptor) -> Generator[bytes, None, None]:
        """A blob from the first that has it; where one fails half-way, the next goes on from the same byte."""
        at = 0
        clients = self._in_order()
        for position, client in enumerate(clients):
            try:
                for chunk in client.stream_blob(descriptor.digest, descriptor.size_bytes, at=at):
                    at += len(chunk)
                    yield chunk
                self._note_served(client)
                return
            except IntactError as error:
                self._note_failed(client, error)
                if position + 1 == len(clients):
                    raise

    def _anywhere(self, ask: Callable[[RepositoryClient], T]) -> T:
        """What the first endpoint says that has an answer. If none has, the last one's error: it is the registry itself."""
        clients = self._in_order()
        for position, client in enumerate(clients):
            try:
                found = ask(client)
                self._note_served(client)
                return found
            except IntactError as error:
                self._note_failed(client, error)
                if position + 1 == len(clients):
                    raise
        raise AssertionError("unreachable: there is always the registry itself")

    def _in_order(self) -> list[RepositoryClient]:
        """Mirrors that failed come after those that did not; the registry itself stays last."""
        with self._lock:
            *mirrors, origin = self._clients
            return [*sorted(mirrors, key=lambda client: str(client) in self._failed), origin]

    def _note_served(self, client: RepositoryClient) -> None:
        with self._lock:
            self._served[str(client)] = None

    def _note_failed(self, client: RepositoryClient, error: IntactError) -> None:
        with self._lock:
            self._failed[str(client)] = str(error)[:500]


def fetch_manifest(client: RepositoryClient, reference: str, wanted: Digest | None) -> tuple[str, bytes]:
    """A manifest's media type and bytes, which have the digest `wanted` if there is one. Raises InputError with the code NoSuchImage,
    TrustError, TemporaryError, PermanentError."""
    answer = client.read(client.path(f"manifests/{reference}"), accept=ACCEPT, limit_bytes=MAX_MANIFEST_BYTES)
    if answer.status == 404:
        raise InputError(f"{client} has no image {reference}", code="NoSuchImage", hint="check repository and tag or digest")
    if answer.status != 200:
        raise client.refusal(answer.status, f"manifest {reference}")
    if wanted is not None and (found := Digest.of(answer.data, wanted.algorithm)) != wanted:
        raise TrustError(f"{client}@{wanted}: the registry answers with {found}", code="BlobDigest", hint="the registry lies")
    return answer.media_type, answer.data
