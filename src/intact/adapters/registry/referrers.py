"""What is attached to an image in its registry: the referrers API, or the tag that stands in for it (distribution-spec 1.1,
spec.md#listing-referrers and #referrers-tag-schema).

In: the digest of an image's manifest. Out: the baselines attached to it, the newest first, none of them believed. Bounded: pages, entries,
candidates, bytes; a bound that bit is told. Never pulls a layer.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import new as new_hash
from mmap import ACCESS_READ, mmap
from urllib.parse import quote, urljoin, urlsplit

from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TrustError

from .artifact import BASELINE_TYPE, OCI_INDEX, Artifact, Referrer, decode_artifact, decode_index, read_referrer
from .client import Answer, RepositoryClient
from .source import fetch_manifest

MAX_PAGES = 100
MAX_ENTRIES = 20_000
MAX_INDEX_BYTES = 8 << 20
MAX_CANDIDATES = 32
"""Attached baselines looked at, the newest first: each costs a manifest and the head of a blob."""
HEAD_BYTES = 2 << 20
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]{0,256}?\brel="?next"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`referrers`: attached baselines, the newest first. `how`: `api` or `tag`. `notes`: bounds that bit, entries that are none."""

    referrers: tuple[Referrer, ...]
    how: str
    notes: tuple[str, ...] = ()


def referrers_tag(subject: Digest) -> str:
    """`sha256-<hex>` (spec.md#referrers-tag-schema: algorithm to 32, value to 64 characters)."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def list_baselines(client: RepositoryClient, subject: Digest) -> Listing:
    """The baselines attached to `subject`. A registry without the referrers API answers 404 for it, and the tag is asked.

    Raises InputError, TemporaryError, PermanentError, TrustError.
    """
    entries, how, notes = read_entries(client, subject, BASELINE_TYPE)
    return _choose(entries, how, notes, str(client))


def read_entries(client: RepositoryClient, subject: Digest, artifact_type: str = "") -> tuple[list[dict[str, object]], str, list[str]]:
    """What refers to `subject`, as it is listed; `api` or `tag`; and bounds that bit. A registry need not filter by `artifact_type`.
    Raises as `list_baselines`."""
    url = client.path(f"referrers/{subject}" + (f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""))
    entries: list[dict[str, object]] = []
    notes: list[str] = []
    how = "api"
    for page in range(MAX_PAGES + 1):
        answer = client.read(url, accept=OCI_INDEX, limit_bytes=MAX_INDEX_BYTES)
        if page == 0 and not _is_api_answer(answer):
            if answer.status not in (200, 400, 404, 405, 501):
                raise client.refusal(answer.status, f"referrers of {subject}")
            how, answer = (
                "tag",
                client.read(client.path(f"manifests/{referrers_tag(subject)}"), accept=OCI_INDEX, limit_bytes=MAX_INDEX_BYTES),
            )
            if answer.status == 404:
                break
        if answer.status != 200:
            raise client.refusal(answer.status, f"referrers of {subject}")
        entries += decode_index(answer.data)
        following = _next_page(answer) if how == "api" else ""
        if len(entries) > MAX_ENTRIES or (following and page == MAX_PAGES):
            notes.append(f"{client} lists more than {min(len(entries), MAX_ENTRIES)} referrers: the rest was not looked at")
            del entries[MAX_ENTRIES:]
            break
        if not following:
            break
        url = following
    return entries, how, notes


def _choose(entries: list[dict[str, object]], how: str, notes: list[str], name: str) -> Listing:
    found: dict[Digest, Referrer] = {}
    malformed = 0
    for entry in entries:
        if entry.get("artifactType") != BASELINE_TYPE:  # a registry need not filter
            continue
        try:
            referrer = read_referrer(entry)
        except InputError:
            malformed += 1
            continue
        found.setdefault(referrer.descriptor.digest, referrer)
    if malformed:
        notes.append(f"{name} lists {malformed} malformed referrers")
    ordered = sorted(found.values(), key=lambda one: (-one.created_at, str(one.descriptor.digest)))
    if len(ordered) > MAX_CANDIDATES:
        notes.append(f"{len(ordered)} baselines are attached: the newest {MAX_CANDIDATES} are looked at")
    return Listing(referrers=tuple(ordered[:MAX_CANDIDATES]), how=how, notes=tuple(notes))


def _is_api_answer(answer: Answer) -> bool:
    """Registries of old answer anything to an address they do not know; an index is only what says so."""
    return answer.status == 200 and answer.media_type == OCI_INDEX


def _next_page(answer: Answer) -> str:
    """The address of the next page (RFC 8288), of the same registry only; empty at the end."""
    match = _NEXT.search(answer.headers.get("link", ""))
    if match is None:
        return ""
    target: str = urljoin(answer.url, match[1])
    if urlsplit(target)[:2] != urlsplit(answer.url)[:2]:
        raise PermanentError("a list of referrers goes on at another host, which is not followed", code="Referrers")
    return target


def fetch_artifact(client: RepositoryClient, referrer: Referrer, subject: Digest) -> Artifact:
    """What a referrer's manifest says, which has the digest it is listed by. Raises InputError if it is no baseline of `subject`,
    TrustError if the registry altered it."""
    _, data = fetch_manifest(client, str(referrer.descriptor.digest), referrer.descriptor.digest)
    artifact = decode_artifact(data)
    if artifact.subject.digest != subject:
        raise InputError(f"{referrer.descriptor.digest} is attached to {artifact.subject.digest}, not to {subject}", code="Referrers")
    return artifact


@contextmanager
def download_baseline(
    client: RepositoryClient, artifact: Artifact, *, check_head: Callable[[bytes], bool], progress: Callable[[int, int], None]
) -> Iterator[mmap]:
    """The bytes of an attached baseline, in a file without a name, mapped: of the size and digest that its manifest states, and otherwise
    unverified.

    `check_head` gets the first bytes, more and more of them until it says True; what it raises ends the download: so that a baseline of a
    wrong signer costs no more than its head. `progress`: bytes so far, and in all.
    """
    blob = artifact.blob
    size = blob.size_bytes or 0
    hasher, read, head = new_hash(blob.digest.algorithm), 0, b""
    is_checked = False
    with tempfile.TemporaryFile(prefix="intact-baseline-") as file:
        for chunk in client.stream_blob(blob.digest, blob.size_bytes):
            read += len(chunk)
            if read > size:
                raise TrustError(f"{client}: blob {blob.digest} is longer than {size} bytes", code="BlobSize")
            if not is_checked:
                head += chunk
                is_checked = check_head(head)
                if not is_checked and len(head) > HEAD_BYTES:
                    raise InputError(f"{client}: {blob.digest} does not begin as a baseline does", code="Artifact")
            hasher.update(chunk)
            file.write(chunk)
            progress(read, size)
        found = Digest(blob.digest.algorithm, hasher.digest())
        if read != size or found != blob.digest:
            raise TrustError(f"{client}: blob {blob.digest} has {read} bytes and the digest {found}", code="BlobDigest")
        if not read:
            raise InputError(f"{client}: {blob.digest} is empty", code="Artifact")
        file.flush()
        yield mmap(file.fileno(), 0, access=ACCESS_READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An attached baseline whose manifest was read: `client` has it."""

    client: RepositoryClient
    referrer: Referrer
    artifact: Artifact


def iterate_candidates(clients: tuple[RepositoryClient, ...], subject: Digest, *, note: Callable[[str], None]) -> Iterator[Candidate]:
    """The baselines attached to `subject`, mirrors first, each once, the newest first within a registry. What cannot be read is told to
    `note`; only if nobody could be asked at all, that is an error."""
    seen: set[Digest] = set()
    last_error: IntactError | None = None
    is_answered = False
    for client in clients:
        try:
            listing = list_baselines(client, subject)
        except IntactError as error:
            note(f"{client}: {error}")
            last_error = error
            continue
        is_answered = True
        for text in listing.notes:
            note(text)
        for referrer in listing.referrers:
            digest = referrer.descriptor.digest
            if digest in seen:
                continue
            try:
                artifact = fetch_artifact(client, referrer, subject)
            except IntactError as error:
                note(f"{client}@{digest}: {error}")
                continue
            seen.add(digest)
            yield Candidate(client=client, referrer=referrer, artifact=artifact)
    if not is_answered and last_error is not None:
        raise last_error
