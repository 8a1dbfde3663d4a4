"""Writing to a registry (distribution-spec 1.1, spec.md#push): a blob, a manifest, and a line in a referrers tag.

In: bytes that lie in memory or in a mapped file. Out: what the registry said it has. A blob is sent in one PUT, read piece by piece; one
that breaks off is sent again from its start, in an upload of its own, so that nothing half-written is ever named. Only ever adds: an index
under a tag keeps its other entries, and the one tag that is ever moved is a baseline's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

from .artifact import BASELINE_TYPE, EMPTY, OCI_INDEX, OCI_MANIFEST, decode_blob, decode_index, describe, encode_artifact, encode_index
from .client import Answer, RepositoryClient
from .referrers import MAX_ENTRIES, MAX_INDEX_BYTES, list_baselines, referrers_tag
from .source import fetch_manifest

PIECE_BYTES = 1 << 18
MAX_TAG_ATTEMPTS = 5

Progress = Callable[[int, int], None]


def attach_baseline(
    client: RepositoryClient, subject: Descriptor, data: memoryview, annotations: Mapping[str, str], *, progress: Progress
) -> tuple[Digest, str]:
    """Attaches a baseline file to the image `subject`: the artifact's digest, and how it can be found: `api` or `tag`.

    1. The blob, and the empty configuration, unless they are there.
    2. The artifact's manifest.
    3. Without a referrers API (no `OCI-Subject` in the answer, and the API does not list it), its descriptor in the index under the
       referrers tag.
    """
    manifest = encode_artifact(subject, _push_file(client, data, progress), annotations)  # 1
    digest = Digest.of(manifest)
    answer = push_manifest(client, str(digest), OCI_MANIFEST, manifest)  # 2
    if answer.headers.get("oci-subject", "").strip() == str(subject.digest):
        return digest, "api"
    listing = list_baselines(client, subject.digest)
    if listing.how == "api" and any(known.descriptor.digest == digest for known in listing.referrers):
        return digest, "api"
    entry = {
        **describe(Descriptor(media_type=OCI_MANIFEST, digest=digest, size_bytes=len(manifest))),
        "artifactType": BASELINE_TYPE,
        "annotations": dict(sorted(annotations.items())),
    }
    add_to_tag(client, subject.digest, entry)  # 3
    return digest, "tag"


def push_alone(client: RepositoryClient, tag: str, data: memoryview, annotations: Mapping[str, str], *, progress: Progress) -> Digest:
    """Puts a baseline file under `tag`, attached to nothing: the artifact's digest. Raises InputError, and writes nothing, where the tag is
    something else than a baseline: an image's tag stays the image's."""
    try:
        _, present = fetch_manifest(client, tag, None)
    except InputError as error:
        if error.code != "NoSuchImage":
            raise
    else:
        try:
            decode_blob(present)
        except InputError:
            raise InputError(f"{client}:{tag} is there, and no baseline", code="TagInUse", hint="name another tag") from None
    manifest = encode_artifact(None, _push_file(client, data, progress), annotations)
    push_manifest(client, tag, OCI_MANIFEST, manifest)
    return Digest.of(manifest)


def _push_file(client: RepositoryClient, data: memoryview, progress: Progress) -> Descriptor:
    """The blob, and the empty configuration, unless they are there."""
    blob = Descriptor(media_type=BASELINE_TYPE, digest=Digest.of(data), size_bytes=len(data))
    push_blob(client, blob.digest, data, progress)
    push_blob(client, Digest.of(EMPTY), memoryview(EMPTY), lambda done, total: None)
    return blob


def push_blob(client: RepositoryClient, digest: Digest, data: memoryview, progress: Progress) -> None:
    """Sends a blob unless the registry has it. Raises TemporaryError, PermanentError, InputError."""
    if client.ask("HEAD", client.path(f"blobs/{digest}")).status == 200:
        progress(len(data), len(data))
        return

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(data), PIECE_BYTES):
            yield bytes(data[start : start + PIECE_BYTES])
            progress(min(start + PIECE_BYTES, len(data)), len(data))

    patience = client.access.patience
    for attempt in range(1, patience.attempts + 1):
        try:
            opened = client.ask("POST", client.path("blobs/uploads/"), headers={"content-length": "0"})
            if opened.status != 202:
                raise client.refusal(opened.status, "an upload")
            headers = {"content-type": "application/octet-stream", "content-length": str(len(data))}
            answer = client.ask("PUT", _upload_url(client, opened, digest), headers=headers, body=pieces)
            if answer.status != 201:
                raise client.refusal(answer.status, f"the upload of blob {digest}")
            return
        except TemporaryError:
            if attempt == patience.attempts:
                raise
            time.sleep(min(patience.first_pause_s * 2**attempt, patience.longest_pause_s))


def push_manifest(client: RepositoryClient, reference: str, media_type: str, data: bytes) -> Answer:
    """Raises PermanentError where the registry does not take it."""
    headers = {"content-type": media_type, "content-length": str(len(data))}
    answer = client.ask("PUT", client.path(f"manifests/{reference}"), headers=headers, body=lambda: [data])
    if answer.status != 201:
        raise client.refusal(answer.status, f"manifest {reference}")
    stated = answer.headers.get("docker-content-digest", "")
    if stated and stated != str(Digest.of(data)):
        raise PermanentError(f"registry {client.endpoint.host} stored {reference} as {stated[:100]!r}", code="Registry")
    return answer


def add_to_tag(client: RepositoryClient, subject: Digest, entry: Mapping[str, Any]) -> None:
    """Adds `entry` to the index under the referrers tag of `subject`, keeps all others, and looks whether it is there.

    Registries have no way to do this at once: it is read, written and read again, and written again if another writer came between.
    """
    tag = referrers_tag(subject)
    for _ in range(MAX_TAG_ATTEMPTS):
        entries = _read_tag(client, tag)
        if any(known.get("digest") == entry["digest"] for known in entries):
            return
        if len(entries) >= MAX_ENTRIES:
            raise PermanentError(f"{client}:{tag} has {len(entries)} entries already", code="Referrers", hint="delete old ones")
        push_manifest(client, tag, OCI_INDEX, encode_index([*entries, entry]))
    if not any(known.get("digest") == entry["digest"] for known in _read_tag(client, tag)):
        raise TemporaryError(f"others write {client}:{tag} all the time", code="Referrers", hint="try again")


def _read_tag(client: RepositoryClient, tag: str) -> list[dict[str, Any]]:
    answer = client.read(client.path(f"manifests/{tag}"), accept=OCI_INDEX, limit_bytes=MAX_INDEX_BYTES)
    if answer.status == 404:
        return []
    if answer.status != 200:
        raise client.refusal(answer.status, f"manifest {tag}")
    try:
        return decode_index(answer.data)
    except IntactError as error:
        raise PermanentError(f"{client}:{tag} is there, and no list of referrers: {error}", code="Referrers") from None


def _upload_url(client: RepositoryClient, opened: Answer, digest: Digest) -> str:
    """Where the registry wants the blob: its Location, with `digest` added. An address of another host gets no credentials, and must have
    TLS as any."""
    location = opened.headers.get("location", "")
    target = urljoin(opened.url, location)
    parts = urlsplit(target)
    if not location or not parts.hostname or (parts.scheme != "https" and parts.netloc not in client.access.plain_http):
        raise PermanentError(f"registry {client.endpoint.host} names no place to upload to that may be used", code="Registry")
    return f"{target}{'&' if parts.query else '?'}digest={digest}"
