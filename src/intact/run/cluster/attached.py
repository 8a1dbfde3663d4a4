"""Baselines attached to images in their registry: found, verified, and used without pulling a layer; and attached, or put there alone.

A baseline counts only if all of this holds; what fails is told, and the next older one is looked at:

1. It is attached to the manifest that the image's name leads to, proven down to the configuration (`ingest.resolve`, steps 1 to 4).
2. A trusted key signed its envelope, and no refused one is needed: known from its first bytes, before the tables are fetched.
3. Its key is the digest of that configuration.
4. Its bytes have the size and digest that the artifact's manifest states.
5. The document verifies as a whole (`baseline.document.load_document`): tables, roots, root of the whole.
6. It states for each layer the diff_id that the configuration states, in order.

The age of a baseline is the registry's word: it orders, it never decides. An older genuine one is as good, since its key binds it to the
image.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from intact.adapters.registry.access import RegistryAccess
from intact.adapters.registry.artifact import CREATED, KEY
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.referrers import Candidate, download_baseline, iterate_candidates
from intact.adapters.registry.source import RegistrySource
from intact.adapters.registry.upload import attach_baseline, push_alone
from intact.baseline.document import load_document, peek_envelope
from intact.baseline.signing import open_envelope
from intact.baseline.statement import decode_statement
from intact.baseline.trust import Trust
from intact.ingest.documents import INDEX_TYPES, MANIFEST_TYPES, parse_index, parse_manifest
from intact.ingest.image import Resolved, read_document, resolve
from intact.ingest.limits import Limits
from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError
from intact.model.layer import Baseline

MAX_MANIFESTS = 200
"""Of one index, read to find a configuration."""

NOT_USED = "is not used"
"""In the note about each baseline that was found and did not verify."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A baseline that verified. `document` is its file, `envelope` the signed part of it, `artifact` its manifest's digest in the registry,
    `served_by` who sent it."""

    baseline: Baseline
    document: mmap.mmap
    envelope: bytes
    signer: str
    artifact: Digest
    served_by: str


def find_attached(
    source: RegistrySource,
    trust: Trust,
    *,
    platform: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda done, total: None,
) -> Attached | None:
    """The newest baseline attached to the image that verifies; None if there is none. What did not verify, and why, goes to `note`.

    Raises InputError (no such image), TemporaryError (out of reach), TrustError (the image's documents are not what they should be).
    """
    image = resolve(source, platform=platform, limits=Limits())  # 1
    return find_attached_to(image, source, trust, note=note, progress=progress)


def find_attached_to(
    image: Resolved,
    source: RegistrySource,
    trust: Trust,
    *,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda done, total: None,
) -> Attached | None:
    """Steps 2 to 6, for an image whose documents were read already."""
    for candidate in iterate_candidates(source.clients, image.descriptor.digest, note=note):
        try:
            return _verify(candidate, image, trust, progress)
        except IntactError as error:
            note(f"{candidate.client}@{candidate.referrer.descriptor.digest} {NOT_USED}: {error}")
    return None


def _verify(candidate: Candidate, image: Resolved, trust: Trust, progress: Progress) -> Attached:
    key = image.manifest.config.digest
    envelope = b""

    def check_head(head: bytes) -> bool:
        nonlocal envelope
        found = peek_envelope(head)
        if found is None:
            return False
        envelope = found
        statement = decode_statement(open_envelope(envelope, trusted=trust.keys, refused=trust.refused).payload)  # 2
        if statement.key != key:  # 3
            raise TrustError(f"it is the baseline of {statement.key}, not of {key}", code="OtherImage")
        return True

    with download_baseline(candidate.client, candidate.artifact, check_head=check_head, progress=progress) as document:  # 4
        baseline = load_document(document, trusted=trust.keys, refused=trust.refused)  # 5
    if baseline.key != key or tuple(layer.diff_id for layer in baseline.layers) != image.config.diff_ids:  # 6
        raise TrustError("its layers are not those of the image", code="OtherImage")
    signer = open_envelope(envelope, trusted=trust.keys, refused=trust.refused).signer
    return Attached(
        baseline=baseline,
        document=document,
        envelope=envelope,
        signer=signer,
        artifact=candidate.referrer.descriptor.digest,
        served_by=str(candidate.client),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """`subject` is the manifest that the baseline is attached to; `how` it is found: `api` or `tag`."""

    key: Digest
    root: Digest
    subject: Digest
    platform: str
    artifact: Digest
    how: str


def push_attached(
    access: RegistryAccess, host: str, repository: str, reference: str, document: memoryview, baseline: Baseline, *, now: float,
    progress: Progress = lambda done, total: None,
) -> Pushed:  # fmt: skip
    """Attaches a baseline file to the manifest of the image whose configuration is its key. Mirrors play no part.

    Raises InputError if the image has no such manifest, TemporaryError, PermanentError, TrustError.
    """
    direct = replace(access, mirrors={})
    source = RegistrySource(host, repository, reference, access=direct, actions="pull,push")
    try:
        subject, platform = find_subject(source, baseline.key)
        created = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        client: RepositoryClient = source.clients[-1]
        digest, how = attach_baseline(client, subject, document, {CREATED: created, KEY: str(baseline.key)}, progress=progress)
    finally:
        source.close()
    return Pushed(key=baseline.key, root=baseline.root, subject=subject.digest, platform=platform, artifact=digest, how=how)


def push_standing_alone(
    access: RegistryAccess, host: str, repository: str, tag: str, document: memoryview, key: Digest, *,
    progress: Progress = lambda done, total: None,
) -> Digest:  # fmt: skip
    """Puts a baseline file under a tag of any repository, attached to no image: the artifact's digest, the same for the same file. Mirrors
    play no part.

    Raises InputError if the tag is something else than a baseline, TemporaryError, PermanentError, TrustError.
    """
    source = RegistrySource(host, repository, tag, access=replace(access, mirrors={}), actions="pull,push")
    try:
        return push_alone(source.clients[-1], tag, document, {KEY: str(key)}, progress=progress)
    finally:
        source.close()


def find_subject(source: RegistrySource, key: Digest) -> tuple[Descriptor, str]:
    """The manifest, of an image or of an index (and an index below it), whose configuration is `key`, and the platform the index names for
    it. Raises InputError if there is none."""
    limits = Limits()
    pending = [(source.root(), "", 0)]
    platforms: list[str] = []
    read = 0
    while pending:
        descriptor, platform, depth = pending.pop(0)
        read += 1
        if read > MAX_MANIFESTS:
            raise InputError(f"{source.name}: the first {MAX_MANIFESTS} manifests of the index do not have {key}", code="OtherImage")
        data = read_document(source, descriptor, limits)
        if descriptor.media_type in INDEX_TYPES and depth < 2:
            pending += [(choice.descriptor, choice.platform, depth + 1) for choice in parse_index(data, limits)]
        elif descriptor.media_type in MANIFEST_TYPES:
            if parse_manifest(data, limits).config.digest == key:
                return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size_bytes=len(data)), platform
            platforms.append(platform)
    raise InputError(
        f"{source.name} is not the image of this baseline, {key}",
        code="OtherImage",
        hint=f"build a baseline of one that it has, for {', '.join(_first(platforms))}" if any(platforms) else "build one of this image",
    )


def _first(platforms: Sequence[str]) -> list[str]:
    return sorted({platform or "an unnamed platform" for platform in platforms})[:20]
