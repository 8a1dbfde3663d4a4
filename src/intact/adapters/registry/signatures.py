"""What a registry holds as signatures of an image: under cosign's tag, and as referrers (cosign, specs/SIGNATURE_SPEC.md, "Storage";
distribution-spec 1.1, spec.md#listing-referrers).

In: the digest of an image's manifest. Out: signatures, none of them believed. That there is none is only said when the registry itself, not
a mirror, answered that there is none. Bounded: manifests, signatures, bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from intact.baseline.ports import MAX_BUNDLE_BYTES, MAX_PAYLOAD_BYTES, UnverifiedSignature
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError

from .artifact import OCI_MANIFEST, load_object, read_descriptor
from .client import RepositoryClient
from .referrers import read_entries, referrers_tag

COSIGN_TAG_SUFFIX = ".sig"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE_ARTIFACT = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
"""How cosign 2.6 names a bundle in the tag that stands in for the referrers API: by its empty configuration."""
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
MAX_MANIFEST_BYTES = 1 << 20
MAX_MANIFESTS = 32
MAX_SIGNATURES = 64
"""Of one manifest."""


def iterate_signatures(clients: Sequence[RepositoryClient], image: Digest) -> Iterator[UnverifiedSignature]:
    """Mirrors first, the registry itself, the last of `clients`, at the end. Raises what that one raises: then nobody knows whether there
    are more. What a mirror cannot say is passed over.
    """
    for client in clients:
        try:
            yield from _read_tagged(client, image)
            yield from _read_attached(client, image)
        except IntactError:
            if client is clients[-1]:
                raise


def _read_tagged(client: RepositoryClient, image: Digest) -> Iterator[UnverifiedSignature]:
    manifest = _fetch_manifest(client, f"{referrers_tag(image)}{COSIGN_TAG_SUFFIX}")
    if manifest is not None:
        yield from _read_layers(client, manifest)


def _read_attached(client: RepositoryClient, image: Digest) -> Iterator[UnverifiedSignature]:
    entries, _, _ = read_entries(client, image)
    kinds = (COSIGN_ARTIFACT, BUNDLE_ARTIFACT, EMPTY_CONFIG)
    for entry in [one for one in entries if one.get("artifactType") in kinds][:MAX_MANIFESTS]:
        try:
            digest = read_descriptor(entry).digest
        except InputError:
            continue
        manifest = _fetch_manifest(client, str(digest), digest)
        if manifest is not None:
            yield from _read_layers(client, manifest)


def _fetch_manifest(client: RepositoryClient, reference: str, wanted: Digest | None = None) -> dict[str, Any] | None:
    answer = client.read(client.path(f"manifests/{reference}"), accept=OCI_MANIFEST, limit_bytes=MAX_MANIFEST_BYTES)
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise client.refusal(answer.status, f"manifest {reference}")
    if wanted is not None and Digest.of(answer.data, wanted.algorithm) != wanted:
        raise TrustError(f"{client}@{wanted}: the registry answers with something else", code="BlobDigest", hint="the registry lies")
    return load_object(answer.data, "signature's manifest")


def _read_layers(client: RepositoryClient, manifest: dict[str, Any]) -> Iterator[UnverifiedSignature]:
    """Each layer that is a signature; what is malformed is none."""
    layers = manifest.get("layers")
    for layer in layers[:MAX_SIGNATURES] if isinstance(layers, list) else ():
        try:
            blob = read_descriptor(layer)
            if blob.media_type == SIMPLE_SIGNING:
                signature = _read_annotation(layer.get("annotations"))
                payload = _fetch_blob(client, blob.digest, blob.size_bytes, MAX_PAYLOAD_BYTES)
                found = UnverifiedSignature(form="simple", payload=payload, signature=signature)
            elif blob.media_type == BUNDLE_ARTIFACT:
                found = UnverifiedSignature(form="bundle", payload=_fetch_blob(client, blob.digest, blob.size_bytes, MAX_BUNDLE_BYTES))
            else:
                continue
        except InputError as error:
            if error.code not in ("Descriptor", "ImageSignature", "InputError"):
                raise
            found = UnverifiedSignature(form="simple", payload=b"")  # counted, so that it is not called unsigned
        yield found


def _read_annotation(annotations: object) -> bytes:
    text = annotations.get(SIGNATURE_ANNOTATION) if isinstance(annotations, dict) else None
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise InputError("a signature is not base64", code="ImageSignature") from None


def _fetch_blob(client: RepositoryClient, digest: Digest, size_bytes: int | None, limit_bytes: int) -> bytes:
    if size_bytes is None or size_bytes > limit_bytes:
        raise InputError("a signature's payload is larger than any is", code="ImageSignature")
    data = bytearray()
    for chunk in client.stream_blob(digest, size_bytes):
        data += chunk
        if len(data) > size_bytes:
            break
    if Digest.of(bytes(data), digest.algorithm) != digest:
        raise TrustError(f"{client}@{digest}: the registry answers with something else", code="BlobDigest", hint="the registry lies")
    return bytes(data)
