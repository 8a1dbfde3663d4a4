"""DSSE envelopes (secure-systems-lab/dsse, protocol.md and envelope.md) signed with Ed25519 (RFC 8032) or ECDSA P-256 with SHA-256
(FIPS 186-5).

In: a payload and keys. Out: an envelope's canonical JSON, or the payload of one that a trusted key signed. Keys are named by the SHA-256 of
their SubjectPublicKeyInfo. A signature has one spelling only: ECDSA's are DER with the low s, and made without randomness where the library
can (RFC 6979). Never reads a file: `adapters.keys` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from intact.model.errors import InputError, TrustError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 1 << 20
MAX_SIGNATURES = 16
MAX_KEY_BYTES = 1 << 16
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of the curve (SP 800-186 §3.2.1.3): (r, n - s) verifies wherever (r, s) does."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that can be trusted to sign: Ed25519 or ECDSA P-256."""

    key: Ed25519PublicKey | ec.EllipticCurvePublicKey

    def __post_init__(self) -> None:
        if not isinstance(self.key, Ed25519PublicKey) and not is_p256(self.key):
            raise InputError("a key is neither Ed25519 nor ECDSA P-256", code="Key", hint="make one with: intact baseline keygen -o K")

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """A SubjectPublicKeyInfo in PEM, as `keygen`, `openssl pkey -pubout` and `cosign generate-key-pair` write it. Raises InputError."""
        try:
            key = load_pem_public_key(pem) if len(pem) <= MAX_KEY_BYTES else None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
            raise InputError("not a public key in PEM of type Ed25519 or ECDSA P-256", code="Key", hint="it is the .pub file of a key pair")
        return cls(key)

    @property
    def id(self) -> str:
        """`sha256:<hex>` of the DER form."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def type(self) -> str:
        return "ed25519" if isinstance(self.key, Ed25519PublicKey) else "ecdsa-p256"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's, in whatever spelling the algorithm allows (a high s too)."""
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, message)
            else:
                self.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def spells(self, signature: bytes) -> bool:
        """Whether the signature is in the one spelling accepted in an envelope: of its twins only one."""
        if isinstance(self.key, Ed25519PublicKey):
            return len(signature) == 64
        try:
            r, s = decode_dss_signature(signature)
        except ValueError:
            return False
        return 0 < r < P256_ORDER and 0 < s <= P256_ORDER // 2 and encode_dss_signature(r, s) == signature


class Signer(Protocol):
    """A private key, wherever it is kept."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A private key in memory. Its repr shows nothing of it."""

    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        try:
            signature = self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            signature = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        return encode_dss_signature(r, min(s, P256_ORDER - s))

    def __repr__(self) -> str:
        return f"KeySigner({self.public.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One signature of an envelope: whose, whether it counts, and if not, why."""

    key_id: str
    counts: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An envelope's content; `signer` is the id of the first trusted key that signed it, empty if nobody had to."""

    payload: bytes
    signer: str
    signatures: tuple[Judged, ...] = ()


def is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)


def encode_pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: `DSSEv1 LEN TYPE LEN PAYLOAD`, so that type and payload cannot flow into each other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal_envelope(payload: bytes, signers: Sequence[Signer], *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The envelope of `payload`, signed by each of `signers`; by none, it is just a wrapper."""
    message = encode_pae(payload_type, payload)
    signatures = [{"keyid": signer.public.id, "sig": _to_base64(signer.sign(message))} for signer in signers]
    return _encode(payload, signatures, payload_type)


def read_payload_type(unverified: bytes, limit_bytes: int = MAX_ENVELOPE_BYTES) -> str:
    """What an envelope says it holds. Raises InputError if it is none."""
    return str(decode_json(unverified, "DSSE envelope", limit_bytes).get("payloadType"))


def add_signature(envelope: bytes, signer: Signer, *, replace: bool = False) -> bytes:
    """A whole envelope with one more signature; `replace`: with that one alone.

    Raises InputError if it is no envelope, if the key has signed it already, or if there is no room for another signature.
    """
    payload, signatures = _decode(envelope, PAYLOAD_TYPE, MAX_ENVELOPE_BYTES)
    kept = [] if replace else [{"keyid": key_id, "sig": _to_base64(signature)} for key_id, signature in signatures]
    if any(key_id == signer.public.id for key_id, _ in signatures) and not replace:
        raise InputError(f"key {signer.public.id} has signed it already", code="SignedAlready", hint="nothing is to be done")
    if len(kept) >= MAX_SIGNATURES:
        raise InputError(f"it bears {MAX_SIGNATURES} signatures already", code="Envelope", hint="replace them: --replace")
    message = encode_pae(PAYLOAD_TYPE, payload)
    return _encode(payload, [*kept, {"keyid": signer.public.id, "sig": _to_base64(signer.sign(message))}], PAYLOAD_TYPE)


def open_envelope(
    unverified: bytes,
    *,
    trusted: Sequence[PublicKey],
    refused: Mapping[str, str] | None = None,
    allow_unsigned: bool = False,
    payload_type: str = PAYLOAD_TYPE,
    limit_bytes: int = MAX_ENVELOPE_BYTES,
) -> Opened:
    """The payload of an envelope. `refused`: ids of known keys that do not count, revoked or out of their time, and why.

    1. It is a DSSE envelope of the type asked for, an in-toto statement, in canonical JSON, so that no byte of it can be changed without
       notice, and no key signs it twice.
    2. At least one key is trusted: an empty list is a mistake, and never everybody.
    3. A signature under the id of a refused key counts for nothing, whatever time anybody claims for it; nor does one of an unknown key.
    4. Every signature under a trusted key's id is spelled in the one accepted way and verifies with that key over the PAE of type and
       payload: one bad signature spoils the good ones.
    5. There is at least one of those; otherwise the payload comes out only if `allow_unsigned`, as nobody's word.

    Raises InputError (1) or TrustError (2 to 5).
    """
    payload, signatures = _decode(unverified, payload_type, limit_bytes)  # 1
    refused = refused or {}
    keys = {key.id: key for key in trusted if key.id not in refused}
    if not keys and not allow_unsigned:  # 2
        why = "; ".join(f"{key_id} {reason}" for key_id, reason in sorted(refused.items()))
        raise TrustError(f"no key is trusted{f': {why}' if why else ''}", code="NoTrustedKey", hint="name the key that must have signed")
    message = encode_pae(payload_type, payload)
    judged = [_judge(key_id, signature, message, keys, refused) for key_id, signature in signatures]
    signer = next((one.key_id for one in judged if one.counts), "")
    if signer or allow_unsigned:  # 5
        return Opened(payload=payload, signer=signer, signatures=tuple(judged))
    if not signatures:
        raise TrustError("it is not signed", code="Unsigned", hint="sign it: intact baseline sign")
    told = ", ".join(f"{one.key_id[:100]} ({one.why})" for one in judged)
    code = "RefusedKey" if any(one.key_id in refused for one in judged) else "UntrustedKey"
    raise TrustError(f"no trusted key signed it: {told}", code=code)


def _judge(key_id: str, signature: bytes, message: bytes, keys: Mapping[str, PublicKey], refused: Mapping[str, str]) -> Judged:
    if key_id in refused:  # 3
        return Judged(key_id=key_id, counts=False, why=refused[key_id])
    key = keys.get(key_id)
    if key is None:
        return Judged(key_id=key_id, counts=False, why="not a trusted key")
    if not key.spells(signature) or not key.verifies(signature, message):  # 4
        raise TrustError(f"the signature by key {key_id} does not verify", code="Signature", hint="the baseline was altered: get it anew")
    return Judged(key_id=key_id, counts=True)


def _encode(payload: bytes, signatures: list[dict[str, str]], payload_type: str) -> bytes:
    return encode_json({"payload": _to_base64(payload), "payloadType": payload_type, "signatures": signatures})


def _decode(unverified: bytes, payload_type: str, limit_bytes: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    envelope = decode_json(unverified, "DSSE envelope", limit_bytes)
    signatures = envelope.get("signatures")
    if envelope.keys() != {"payload", "payloadType", "signatures"} or envelope["payloadType"] != payload_type:
        raise InputError(f"not a DSSE envelope of type {payload_type}", code="Envelope")
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise InputError("the DSSE envelope has no list of signatures, or too many", code="Envelope")
    pairs = []
    for item in signatures:
        if not isinstance(item, dict) or item.keys() != {"keyid", "sig"} or not isinstance(item["keyid"], str):
            raise InputError("a signature of the DSSE envelope is malformed", code="Envelope")
        pairs.append((item["keyid"], _from_base64(item["sig"])))
    if len({key_id for key_id, _ in pairs}) != len(pairs):
        raise InputError("a key has signed the DSSE envelope twice", code="Envelope")
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
