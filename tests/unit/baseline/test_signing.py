"""DSSE envelopes: the specification's own example, and nothing believed without a trusted key."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.baseline.signing import KeySigner, encode_pae, open_envelope, seal_envelope
from intact.model.errors import InputError, TrustError

ONE, OTHER = (KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))


def test_the_pae_is_that_of_the_dsse_specification() -> None:
    encoded = encode_pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_a_signature_by_a_trusted_key_opens_the_envelope() -> None:
    opened = open_envelope(seal_envelope(b"payload", [OTHER, ONE]), trusted=[ONE.public])
    assert (opened.payload, opened.signer) == (b"payload", ONE.public.id)


def test_an_unsigned_envelope_opens_only_if_asked_for() -> None:
    envelope = seal_envelope(b"payload", [])
    with pytest.raises(TrustError, match="not signed"):
        open_envelope(envelope, trusted=[ONE.public])
    assert open_envelope(envelope, trusted=[], allow_unsigned=True).signer == ""


def test_another_keys_signature_is_worth_nothing() -> None:
    with pytest.raises(TrustError, match="not a trusted key"):
        open_envelope(seal_envelope(b"payload", [OTHER]), trusted=[ONE.public])


def test_a_signature_under_a_trusted_name_must_verify_even_beside_a_good_one() -> None:
    forged = seal_envelope(b"payload", [OTHER]).replace(OTHER.public.id.encode(), ONE.public.id.encode())
    for allow_unsigned in (False, True):
        with pytest.raises(TrustError, match="does not verify"):
            open_envelope(forged, trusted=[ONE.public], allow_unsigned=allow_unsigned)


@pytest.mark.parametrize(
    "change", [lambda e: e + b"\n", lambda e: e.replace(b":", b": ", 1), lambda e: e[:-1], lambda e: b"[]", lambda e: b"{}"]
)
def test_an_envelope_has_one_spelling(change: object) -> None:
    with pytest.raises(InputError):
        open_envelope(change(seal_envelope(b"payload", [ONE])), trusted=[ONE.public])  # type: ignore[operator]


def test_a_signer_shows_nothing_of_its_key() -> None:
    assert bytes([1] * 32).hex() not in repr(ONE)
    assert "PrivateKey" not in repr(ONE)
