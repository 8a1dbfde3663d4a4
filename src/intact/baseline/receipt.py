"""A store's receipt for a signed envelope: that this store found it good, when, and what was revoked by then.

In: an envelope that was verified, and the store's own signer. Out: a DSSE envelope of another type around it, signed by the store alone.
Only so a time is known that can be believed: the signature inside carries none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intact.model.errors import InputError

from .signing import MAX_ENVELOPE_BYTES, PublicKey, Signer, decode_json, encode_json, open_envelope, read_payload_type, seal_envelope

RECEIPT_TYPE = "application/vnd.intact.accepted+json"
MAX_RECEIPT_BYTES = 4 * MAX_ENVELOPE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`accepted_at` in Unix seconds; `revoked`: the keys known to be revoked then."""

    envelope: bytes
    accepted_at: float
    revoked: frozenset[str]


def seal_receipt(envelope: bytes, accepted_at: float, revoked: Iterable[str], signer: Signer) -> bytes:
    document = {"acceptedAt": int(accepted_at), "envelope": envelope.decode("ascii"), "revoked": sorted(revoked)}
    return seal_envelope(encode_json(document), [signer], payload_type=RECEIPT_TYPE)


def open_receipt(unverified: bytes, own: Sequence[PublicKey]) -> Receipt | None:
    """None if it is an envelope without a receipt. Raises InputError (malformed) or TrustError (not signed by one of `own`)."""
    if read_payload_type(unverified, MAX_RECEIPT_BYTES) != RECEIPT_TYPE:
        return None
    opened = open_envelope(unverified, trusted=own, payload_type=RECEIPT_TYPE, limit_bytes=MAX_RECEIPT_BYTES)
    document = decode_json(opened.payload, "receipt", MAX_RECEIPT_BYTES)
    at, envelope, revoked = (document.get(name) for name in ("acceptedAt", "envelope", "revoked"))
    if type(at) is not int or not isinstance(envelope, str) or not isinstance(revoked, list) or len(document) != 3:
        raise InputError("the receipt of a baseline is malformed", code="Receipt")
    return Receipt(envelope=envelope.encode(), accepted_at=float(at), revoked=frozenset(map(str, revoked)))
