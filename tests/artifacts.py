"""What people and CI put into a registry beside images: a baseline file as an artifact of its own, an index over several images."""

from __future__ import annotations

import json
from collections.abc import Sequence

from intact.adapters.registry.access import Endpoint, RegistryAccess
from intact.adapters.registry.artifact import BASELINE_TYPE, EMPTY, OCI_INDEX, OCI_MANIFEST
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.upload import push_blob, push_manifest
from intact.model.digest import Digest
from lab.oci import ImageLayout


def push_index(registry: str, repository: str, images: Sequence[tuple[ImageLayout, str]], tag: str = "all") -> str:
    """Pushes the images and an index over them, each with its architecture; returns `REGISTRY/REPOSITORY@sha256:…` of the index."""
    manifests = []
    for layout, machine in images:
        layout.push(registry, f"{repository}:{machine}")
        size = (layout.directory / "blobs/sha256" / layout.manifest_digest.removeprefix("sha256:")).stat().st_size
        platform = {"os": "linux", "architecture": machine}
        manifests.append({"mediaType": OCI_MANIFEST, "digest": layout.manifest_digest, "size": size, "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    client = _client(registry, repository)
    try:
        push_manifest(client, tag, OCI_INDEX, index)
    finally:
        client.close()
    return f"{registry}/{repository}@{Digest.of(index)}"


def push_file(registry: str, repository: str, data: bytes, *, kind: str = BASELINE_TYPE) -> str:
    """Pushes a baseline file as an artifact that is attached to nothing; returns `REGISTRY/REPOSITORY@sha256:…`."""
    client = _client(registry, repository)
    layer = {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data)}
    config = {"mediaType": BASELINE_TYPE, "digest": str(Digest.of(EMPTY)), "size": len(EMPTY)}
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": BASELINE_TYPE, "config": config, "layers": [layer]}
    ).encode()
    try:
        push_blob(client, Digest.of(data), memoryview(data), lambda done, total: None)
        push_blob(client, Digest.of(EMPTY), memoryview(EMPTY), lambda done, total: None)
        push_manifest(client, str(Digest.of(manifest)), OCI_MANIFEST, manifest)
    finally:
        client.close()
    return f"{registry}/{repository}@{Digest.of(manifest)}"


def _client(registry: str, repository: str) -> RepositoryClient:
    access = RegistryAccess(plain_http=frozenset({registry}))
    return RepositoryClient(access, Endpoint(host=registry, repository=repository), actions="pull,push")
