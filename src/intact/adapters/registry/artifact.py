"""A baseline as an OCI 1.1 artifact: a manifest of its own type whose one blob is the whole baseline file, and whose subject is the image's
manifest, or that stands alone (image-spec 1.1, manifest.md#guidelines-for-artifact-usage; docs/registries.md).

In: descriptors. Out: a manifest's bytes; and back, bounded and strict. Says nothing of what the blob is worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

BASELINE_TYPE = "application/vnd.intact.baseline.v1"
"""Of the artifact, of its blob, and of its empty configuration: registries that came before OCI 1.1 take that for the artifact's type."""
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = b"{}"
CREATED = "org.opencontainers.image.created"
KEY = "dev.intact.baseline.key"
"""The image's config digest: for people. Nobody believes an annotation."""
MAX_BASELINE_BYTES = 2 << 30
MAX_ANNOTATIONS = 64
MAX_TEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """One manifest that names an image's as its subject, as a registry lists it: not believed."""

    descriptor: Descriptor
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def created_at(self) -> float:
        """Unix seconds, 0.0 where it does not say: an order to try in, nothing more."""
        try:
            return datetime.fromisoformat(self.annotations.get(CREATED, "").replace("Z", "+00:00")).timestamp()
        except (ValueError, OverflowError):
            return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    subject: Descriptor
    blob: Descriptor


def encode_artifact(subject: Descriptor | None, blob: Descriptor, annotations: Mapping[str, str]) -> bytes:
    """Without a subject it stands alone."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BASELINE_TYPE,
            "config": {"mediaType": BASELINE_TYPE, "digest": str(Digest.of(EMPTY)), "size": len(EMPTY)},
            "layers": [describe(blob)],
            **({"subject": describe(subject)} if subject is not None else {}),
            "annotations": dict(sorted(annotations.items())),
        },
        separators=(",", ":"),
    ).encode()


def decode_artifact(unverified: bytes) -> Artifact:
    """The subject and the blob of a baseline's manifest. Raises InputError if it is none."""
    return Artifact(subject=read_descriptor(load_object(unverified, "artifact's manifest").get("subject")), blob=decode_blob(unverified))


def decode_blob(unverified: bytes) -> Descriptor:
    """The blob of a baseline's manifest, whether it is attached to an image or stands alone. Raises InputError if it is none."""
    document = load_object(unverified, "artifact's manifest")
    layers = document.get("layers")
    config = document.get("config")
    kind = document.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    if kind != BASELINE_TYPE or not isinstance(layers, list) or len(layers) != 1:
        raise InputError("the artifact is not a baseline", code="Artifact")
    blob = read_descriptor(layers[0])
    if blob.media_type != BASELINE_TYPE or blob.size_bytes is None or blob.size_bytes > MAX_BASELINE_BYTES:
        raise InputError("the artifact's blob is not a baseline, or too large to be one", code="Artifact")
    return blob


def encode_index(referrers: Sequence[Mapping[str, Any]]) -> bytes:
    """The index that stands under a referrers tag."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": referrers}, separators=(",", ":")).encode()


def decode_index(unverified: bytes) -> list[dict[str, Any]]:
    """The entries of an index, as they are. Raises InputError if it is none."""
    document = load_object(unverified, "list of referrers")
    entries = document.get("manifests")
    if document.get("schemaVersion") != 2 or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("the list of referrers is not an image index", code="Referrers")
    return entries


def read_referrer(entry: Mapping[str, Any]) -> Referrer:
    """One entry of such an index. Raises InputError."""
    annotations = entry.get("annotations") or {}
    if not isinstance(annotations, dict) or len(annotations) > MAX_ANNOTATIONS:
        raise InputError("a referrer has malformed annotations", code="Referrers")
    texts = {key: value for key, value in annotations.items() if isinstance(value, str) and len(value) <= MAX_TEXT}
    kind = entry.get("artifactType")
    return Referrer(descriptor=read_descriptor(entry), artifact_type=kind if isinstance(kind, str) else "", annotations=texts)


def describe(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size_bytes}


def read_descriptor(item: object) -> Descriptor:
    if not isinstance(item, dict):
        raise InputError("a descriptor is missing", code="Descriptor")
    media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or type(size) is not int or not 0 <= size < 1 << 63:
        raise InputError("a descriptor has no mediaType, digest and size", code="Descriptor")
    return Descriptor(media_type=media_type[:MAX_TEXT], digest=Digest.parse(digest), size_bytes=size)


def load_object(unverified: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(unverified)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InputError(f"the {what} is not a JSON object", code="Json")
    return document
