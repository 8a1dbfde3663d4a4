"""Signatures of images, as `cosign` makes them (cosign, specs/SIGNATURE_SPEC.md and specs/BUNDLE_SPEC.md; sigstore bundle v0.3).

In: what a registry holds beside an image, and keys or identities. Out: whose signature counts, or why none does. The name in a payload
(`docker-reference`) decides nothing, as with `cosign verify`: the digest does. Of a signature with a key, transparency logs, certificates
and timestamps are not looked at: who requires a key believes the key. An Ed25519 key counts for pure Ed25519 alone: the Ed25519ph (RFC 8032
§5.1) that cosign 2 makes is in no library we trust. Never fetches anything.

A signature counts if all of this holds, in this order, so that nothing is parsed that no known key signed:

1. It is not larger than a signature is.
2. It verifies with one of the keys: over the payload as it is (simple signing), or over the PAE of type and payload (bundle).
3. That key was not revoked.
4. The payload is of the type that means an image's signature: no other document by the same key can be passed off as one.
5. It names exactly the digest of the image's manifest.

With an identity instead of a key, 1 to 3 are `IdentityVerifier.open_bundle`'s, of bundles alone: cosign's older form under a tag carries no
proof that a transparency log has it. As an image's signature counts there, beside cosign's, the provenance that a build's own workflow
states (SLSA), as forges attach it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intact.model.digest import Digest
from intact.model.errors import InputError, PermanentError, TrustError
from intact.model.policy import Signatory

from .ports import CANNOT_VERIFY, MAX_BUNDLE_BYTES, MAX_PAYLOAD_BYTES, IdentityVerifier, UnverifiedSignature
from .signing import PAYLOAD_TYPE, PublicKey, encode_pae

SIMPLE_SIGNING = "cosign container image signature"
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
PREDICATE_TYPE = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_SIGNATURE_BYTES = 1024
MAX_TOLD = 3
NEW_FORM = "sign with cosign 3, or cosign 2.6 sign --new-bundle-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """`signer`: the id of the key, or the identity, whose signature counts, empty if none does; then `why` says so in words."""

    signer: str
    why: str = ""


def find_signer(
    signatures: Iterable[UnverifiedSignature],
    image: Digest,
    keys: Sequence[PublicKey],
    refused: Mapping[str, str] | None = None,
    *,
    identities: Sequence[Signatory] = (),
    verifier: IdentityVerifier | None = None,
) -> Attested:
    """The first signature of `image` that counts. `refused`: ids among the keys that count no more, and why. Stops asking for signatures as
    soon as one counts; what `signatures` raises is raised. Raises PermanentError (code `CannotVerify`) if none counts and there are
    identities that cannot be verified here."""
    if not keys and not identities:
        raise InputError("no key is named that an image could be signed by", code="NoTrustedKey")
    blind = _find_blindness(verifier) if identities else None
    problems: list[str] = []
    count = 0
    for one in signatures:
        count += 1
        try:
            if keys:
                return Attested(signer=verify_signature(one, image, keys, refused))
        except (InputError, TrustError) as error:
            problems.append(str(error))
        try:
            if identities and verifier is not None and blind is None:
                return Attested(signer=verify_identity(one, image, identities, verifier))
        except (InputError, TrustError) as error:
            problems.append(str(error))
    if blind is not None:
        raise blind
    if not count:
        return Attested(signer="", why="it has no signature")
    told = "; ".join(list(dict.fromkeys(problems))[:MAX_TOLD])
    noun = "its signature does not count" if count == 1 else f"none of its {count} signatures counts"
    return Attested(signer="", why=f"{noun}: {told}")


def _find_blindness(verifier: IdentityVerifier | None) -> PermanentError | None:
    """Why identities cannot be verified here."""
    if verifier is None:
        return PermanentError("identities cannot be verified here", code=CANNOT_VERIFY)
    try:
        verifier.check()
    except PermanentError as error:
        return error
    return None


def verify_identity(unverified: UnverifiedSignature, image: Digest, identities: Sequence[Signatory], verifier: IdentityVerifier) -> str:
    """The identity that signed. Raises InputError, TrustError, or PermanentError (identities cannot be verified here)."""
    if unverified.form != "bundle":
        raise InputError("a signature under a tag has no identity that could be verified offline", code="ImageSignature", hint=NEW_FORM)
    opened = verifier.open_bundle(unverified.payload, identities)  # 1, 2, 3
    if opened.payload_type != PAYLOAD_TYPE:
        raise TrustError("what was signed is not an image's signature", code="ImageSignature")
    named = _read_statement(_load(opened.payload), (PREDICATE_TYPE, PROVENANCE_TYPE))  # 4
    if str(image) not in named:  # 5
        raise TrustError(f"it is the signature of {', '.join(sorted(named))[:200]}", code="OtherImage")
    return opened.signer


def verify_signature(
    unverified: UnverifiedSignature, image: Digest, keys: Sequence[PublicKey], refused: Mapping[str, str] | None = None
) -> str:
    """The id of the key that signed. Raises InputError (no signature of a known form) or TrustError (it does not count)."""
    limit = MAX_PAYLOAD_BYTES if unverified.form == "simple" else MAX_BUNDLE_BYTES
    if len(unverified.payload) > limit or len(unverified.signature) > MAX_SIGNATURE_BYTES:  # 1
        raise InputError("a signature is larger than any is", code="ImageSignature")
    if unverified.form == "simple":
        payload, candidates = unverified.payload, [(unverified.signature, unverified.payload)]
    else:
        payload, candidates = _read_bundle(unverified.payload)
    key = next((key for signature, message in candidates for key in keys if key.verifies(signature, message)), None)  # 2
    if key is None:
        hint = "cosign 2 signs with Ed25519ph, which is not supported: use ECDSA P-256" if any(k.type == "ed25519" for k in keys) else ""
        raise TrustError("it is by none of the keys that are accepted", code="UntrustedKey", hint=hint)
    if refused and key.id in refused:  # 3
        raise TrustError(f"it is by key {key.id}, which {refused[key.id]}", code="RefusedKey")
    document = _load(payload)
    named = _read_simple(document) if unverified.form == "simple" else _read_statement(document, (PREDICATE_TYPE,))  # 4
    if str(image) not in named:  # 5
        raise TrustError(f"it is the signature of {', '.join(sorted(named))[:200]}", code="OtherImage")
    return key.id


def _read_bundle(unverified: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The payload, and each signature with what it must be over."""
    bundle = _load(unverified)
    envelope = bundle.get("dsseEnvelope")
    if bundle.get("mediaType") != BUNDLE_TYPE or not isinstance(envelope, dict) or envelope.get("payloadType") != PAYLOAD_TYPE:
        raise InputError("not a sigstore bundle of an in-toto statement", code="ImageSignature")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= 4 or not all(isinstance(one, dict) for one in signatures):
        raise InputError("a sigstore bundle has no signature, or too many", code="ImageSignature")
    payload = decode_base64(envelope.get("payload"))
    message = encode_pae(PAYLOAD_TYPE, payload)
    return payload, [(decode_base64(one.get("sig")), message) for one in signatures]


def _read_simple(document: Mapping[str, Any]) -> frozenset[str]:
    """The digest that a simple-signing payload names (containers/image, docs/containers-signature.5.md)."""
    critical = document.get("critical")
    image = critical.get("image") if isinstance(critical, dict) else None
    digest = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    if not isinstance(critical, dict) or critical.get("type") != SIMPLE_SIGNING or not isinstance(digest, str):
        raise TrustError("what was signed is not an image's signature", code="ImageSignature")
    return frozenset({digest})


def _read_statement(document: Mapping[str, Any], kinds: Sequence[str]) -> frozenset[str]:
    subjects = document.get("subject")
    if document.get("_type") not in STATEMENT_TYPES or document.get("predicateType") not in kinds or not isinstance(subjects, list):
        raise TrustError("what was signed is not an image's signature", code="ImageSignature")
    digests = [one.get("digest") for one in subjects[:64] if isinstance(one, dict)]
    return frozenset(f"sha256:{one['sha256']}" for one in digests if isinstance(one, dict) and isinstance(one.get("sha256"), str))


def _load(data: bytes) -> dict[str, Any]:
    """A JSON object without a name twice: two readers must not see two documents in it."""
    try:
        document = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise InputError("a signature holds something that is not JSON, or a name twice", code="ImageSignature") from None
    if not isinstance(document, dict):
        raise InputError("a signature holds no JSON object", code="ImageSignature")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def decode_base64(text: object) -> bytes:
    """Of its one spelling. Raises InputError."""
    if not isinstance(text, str):
        raise InputError("a signature is missing", code="ImageSignature")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("a signature is not base64", code="ImageSignature") from None
    if base64.b64encode(data).decode() != text:
        raise InputError("a signature is base64 that is not canonical", code="ImageSignature")
    return data
