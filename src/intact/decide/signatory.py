"""The keys of `baseline.signedBy`: which public keys a policy may name. In: text of a policy; out: the key, or an error that says what is
allowed. Whether anything is signed by them is for others to say."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from intact.model.policy import Signatory

from .fields import Field

MAX_SIGNATORIES = 8
ALLOWED = "a public key in PEM, ECDSA P-256 or Ed25519: the cosign.pub of cosign generate-key-pair"


def read_signatories(field: Field) -> tuple[Signatory, ...]:
    """A list that is given names at least one key: an empty one would read as a demand and be none."""
    found = tuple(_read(one) for one in field.items(MAX_SIGNATORIES))
    if field.is_given and not found:
        field.fail("names no key", ALLOWED)
    return found


def _read(field: Field) -> Signatory:
    parts = field.mapping("key", "name")
    text = parts["key"].text().strip()
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    is_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not is_curve and not isinstance(key, Ed25519PublicKey):
        parts["key"].fail("not a key that can be checked", ALLOWED)
    return Signatory(key=text + "\n", name=parts["name"].text(""))
