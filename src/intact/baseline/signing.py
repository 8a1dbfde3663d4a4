"""DSSE envelopes with Ed25519 (secure-systems-lab/dsse, protocol.md and envelope.md; RFC 8032).

In: a payload and keys. Out: an envelope's canonical JSON, or the payload of one that a trusted key signed. Keys are named by the SHA-256 of
their SubjectPublicKeyInfo. Never reads a file: `adapters.keys` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intact.model.errors import InputError, TrustError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 1 << 20
MAX_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that is trusted to sign baselines."""

    key: Ed25519PublicKey

    @property
    def id(self) -> str:
        """`sha256:<hex>` of the DER form."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """A private key, wherever it is kept."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A private key in memory. Its repr shows nothing of it."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)

    def __repr__(self) -> str:
        return f"KeySigner({self.public.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An envelope's content; `signer` is the id of the trusted key that signed it, empty if nobody had to."""

    payload: bytes
    signer: str


def encode_pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: `DSSEv1 LEN TYPE LEN PAYLOAD`, so that type and payload cannot flow into each other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal_envelope(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """The envelope of `payload`, signed by each of `signers`; by none, it is just a wrapper."""
    message = encode_pae(PAYLOAD_TYPE, payload)
    return _encode(payload, [{"keyid": signer.public.id, "sig": _to_base64(signer.sign(message))} for signer in signers])


def open_envelope(unverified: bytes, *, trusted: Sequence[PublicKey], allow_unsigned: bool = False) -> Opened:
    """The payload of an envelope.

    1. It is a DSSE envelope of an in-toto statement in canonical JSON, so that no byte of it can be changed without notice.
    2. Every signature whose key id is a trusted key's verifies with that key over the PAE of type and payload.
    3. There is at least one of those; otherwise the payload comes out only if `allow_unsigned`, as nobody's word.

    Raises InputError (1) or TrustError (2, 3).
    """
    payload, signatures = _decode(unverified)  # 1
    message = encode_pae(PAYLOAD_TYPE, payload)
    keys = {key.id: key for key in trusted}
    signer = ""
    for key_id, signature in signatures:  # 2
        key = keys.get(key_id)
        if key is None:
            continue
        if not key.verifies(signature, message):
            raise TrustError(
                f"the signature by key {key_id} does not verify", code="Signature", hint="the baseline was altered: get it anew"
            )
        signer = signer or key_id
    if signer:  # 3
        return Opened(payload=payload, signer=signer)
    if allow_unsigned:
        return Opened(payload=payload, signer="")
    if not signatures:
        raise TrustError("the baseline is not signed", code="Unsigned", hint="sign it, or allow unsigned baselines explicitly")
    names = ", ".join(key_id[:100] for key_id, _ in signatures)
    raise TrustError(f"the baseline is signed by {names}, which is not a trusted key", code="UntrustedKey")


def _encode(payload: bytes, signatures: list[dict[str, str]]) -> bytes:
    return encode_json({"payload": _to_base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures})


def _decode(unverified: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    envelope = decode_json(unverified, "DSSE envelope", MAX_ENVELOPE_BYTES)
    signatures = envelope.get("signatures")
    if envelope.keys() != {"payload", "payloadType", "signatures"} or envelope["payloadType"] != PAYLOAD_TYPE:
        raise InputError("not a DSSE envelope of an in-toto statement", code="Envelope")
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise InputError("the DSSE envelope has no list of signatures, or too many", code="Envelope")
    pairs = []
    for item in signatures:
        if not isinstance(item, dict) or item.keys() != {"keyid", "sig"} or not isinstance(item["keyid"], str):
            raise InputError("a signature of the DSSE envelope is malformed", code="Envelope")
        pairs.append((item["keyid"], _from_base64(item["sig"])))
    return _from_base64(envelope["payload"]), pairs


def encode_json(document: object) -> bytes:
    """The one form of a document: sorted keys, no blanks, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def decode_json(data: bytes, what: str, limit_bytes: int) -> dict[str, Any]:
    """An object that is exactly in the form `encode_json` gives it; raises InputError on anything else."""
    if len(data) > limit_bytes:
        raise InputError(f"the {what} is longer than {limit_bytes} bytes", code="Envelope")
    try:
        document = json.loads(data)
        canonical = encode_json(document)
    except (ValueError, RecursionError):
        raise InputError(f"the {what} is not JSON", code="Envelope") from None
    if not isinstance(document, dict) or canonical != bytes(data):
        raise InputError(f"the {what} is not in its canonical form", code="Envelope")
    return document


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise InputError("the DSSE envelope is malformed", code="Envelope")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the DSSE envelope holds something that is not base64", code="Envelope") from None
    if _to_base64(data) != text:
        raise InputError("the DSSE envelope holds base64 that is not canonical", code="Envelope")
    return data
