"""The entries of `baseline.signedBy`: which public keys and identities a policy may name. In: text of a policy; out: the key or identity,
or an error that says what is allowed. Whether anything is signed by them is for others to say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from intact.model.policy import Signatory

from .fields import Field

MAX_SIGNATORIES = 8
ALLOWED = "a public key in PEM, ECDSA P-256 or Ed25519: the cosign.pub of cosign generate-key-pair"
ALLOWED_IDENTITY = (
    "an e-mail address or URI as the certificate has it; at the end of a workflow's, behind @refs/heads/ or @refs/tags/, one * may stand"
)
MAX_IDENTITY = 512
_EXACT = re.compile(r"[^\s*@]+@[^\s*@]+|[a-z][a-z0-9+.-]*://[^\s*]+")
_BEGINNING = re.compile(r"https://[^\s*@]+@refs/(heads|tags)/[^\s*]*\*")
"""The workflow and its repository stay spelled out: only the branch or tag, which that repository's own people choose, may be open."""
_ISSUER = re.compile(r"https?://[^\s*]+")


def read_signatories(field: Field) -> tuple[Signatory, ...]:
    """A list that is given names at least one: an empty one would read as a demand and be none."""
    found = tuple(_read(one) for one in field.items(MAX_SIGNATORIES))
    if field.is_given and not found:
        field.fail("names no key", f"{ALLOWED}; or an identity and its issuer")
    return found


def _read(field: Field) -> Signatory:
    parts = field.mapping("key", "identity", "issuer", "name")
    if parts["identity"].is_given or parts["issuer"].is_given:
        return _read_identity(parts)
    text = parts["key"].text().strip()
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    is_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not is_curve and not isinstance(key, Ed25519PublicKey):
        parts["key"].fail("not a key that can be checked", ALLOWED)
    return Signatory(key=text + "\n", name=parts["name"].text(""))


def _read_identity(parts: Mapping[str, Field]) -> Signatory:
    if parts["key"].is_given:
        parts["key"].fail("a key and an identity in one entry", "an entry for each")
    identity, issuer = parts["identity"].text(), parts["issuer"].text()
    if len(identity) > MAX_IDENTITY or not (_EXACT.fullmatch(identity) or _BEGINNING.fullmatch(identity)):
        parts["identity"].fail("not an identity that can be checked", ALLOWED_IDENTITY)
    if len(issuer) > MAX_IDENTITY or not _ISSUER.fullmatch(issuer):
        parts["issuer"].fail("not an issuer", "the URL of the OpenID Connect issuer, such as https://token.actions.githubusercontent.com")
    return Signatory(identity=identity, issuer=issuer, name=parts["name"].text(""))
