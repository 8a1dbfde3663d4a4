"""DSSE envelopes: the specification's own example, and nothing believed without a trusted key. Numbers are those of `open_envelope`."""

import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from intact.baseline.signing import P256_ORDER, KeySigner, PublicKey, add_signature, encode_pae, open_envelope, seal_envelope
from intact.model.errors import InputError, TrustError

ONE, OTHER = (KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))
CURVED = KeySigner(ec.derive_private_key(7, ec.SECP256R1()))
EVERY = pytest.mark.parametrize("signer", [ONE, CURVED], ids=["ed25519", "ecdsa-p256"])


def test_the_pae_is_that_of_the_dsse_specification() -> None:
    encoded = encode_pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@EVERY
def test_a_signature_by_a_trusted_key_opens_the_envelope(signer: KeySigner) -> None:
    opened = open_envelope(seal_envelope(b"payload", [OTHER, signer]), trusted=[signer.public])
    assert (opened.payload, opened.signer) == (b"payload", signer.public.id)
    assert [(one.key_id, one.counts) for one in opened.signatures] == [(OTHER.public.id, False), (signer.public.id, True)]


@EVERY
def test_the_same_key_signs_the_same_payload_the_same_way(signer: KeySigner) -> None:
    assert seal_envelope(b"payload", [signer]) == seal_envelope(b"payload", [signer])


@pytest.mark.parametrize(
    "change", [lambda e: e + b"\n", lambda e: e.replace(b":", b": ", 1), lambda e: e[:-1], lambda e: b"[]", lambda e: b"{}"]
)
def test_step_1_an_envelope_has_one_spelling(change: object) -> None:
    with pytest.raises(InputError):
        open_envelope(change(seal_envelope(b"payload", [ONE])), trusted=[ONE.public])  # type: ignore[operator]


def test_step_1_no_key_signs_twice() -> None:
    with pytest.raises(InputError, match="twice"):
        open_envelope(seal_envelope(b"payload", [ONE, ONE]), trusted=[ONE.public])


def test_step_2_naming_no_key_is_refused_rather_than_accepting_all() -> None:
    with pytest.raises(TrustError, match="no key is trusted"):
        open_envelope(seal_envelope(b"payload", [ONE]), trusted=[])


def test_step_3_a_refused_keys_signature_counts_for_nothing_and_says_why() -> None:
    envelope = seal_envelope(b"payload", [ONE])
    with pytest.raises(TrustError, match="was stolen"):
        open_envelope(envelope, trusted=[ONE.public, OTHER.public], refused={ONE.public.id: "was stolen"})
    with pytest.raises(TrustError, match="was stolen"):  # also where no other key is left
        open_envelope(envelope, trusted=[ONE.public], refused={ONE.public.id: "was stolen"})


def test_step_3_beside_a_refused_key_a_trusted_one_counts() -> None:
    opened = open_envelope(seal_envelope(b"payload", [ONE, CURVED]), trusted=[CURVED.public], refused={ONE.public.id: "was stolen"})
    assert [(one.counts, one.why) for one in opened.signatures] == [(False, "was stolen"), (True, "")]


def test_step_3_another_keys_signature_is_worth_nothing() -> None:
    with pytest.raises(TrustError, match="not a trusted key"):
        open_envelope(seal_envelope(b"payload", [OTHER]), trusted=[ONE.public])


@EVERY
def test_step_4_a_signature_under_a_trusted_name_must_verify_even_beside_a_good_one(signer: KeySigner) -> None:
    forged = seal_envelope(b"payload", [OTHER]).replace(OTHER.public.id.encode(), signer.public.id.encode())
    for allow_unsigned in (False, True):
        with pytest.raises(TrustError, match="does not verify"):
            open_envelope(forged, trusted=[signer.public], allow_unsigned=allow_unsigned)


def respell(envelope: bytes, change: object) -> bytes:
    """`envelope` with its one signature changed."""
    document = json.loads(envelope)
    document["signatures"][0]["sig"] = b64encode(change(b64decode(document["signatures"][0]["sig"]))).decode()  # type: ignore[operator]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def make_high(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def test_step_4_the_high_twin_of_an_ecdsa_signature_is_refused_though_the_algorithm_would_accept_it() -> None:
    message = encode_pae("application/vnd.in-toto+json", b"payload")
    twin = make_high(CURVED.sign(message))
    assert CURVED.public.verifies(twin, message)
    with pytest.raises(TrustError, match="does not verify"):
        open_envelope(respell(seal_envelope(b"payload", [CURVED]), make_high), trusted=[CURVED.public])


@pytest.mark.parametrize("change", [lambda s: s + b"\0", lambda s: b"", lambda s: b"\x30\x81" + s[1:], lambda s: s[:-1]])
@EVERY
def test_step_4_a_signature_has_one_spelling(signer: KeySigner, change: object) -> None:
    with pytest.raises(TrustError, match="does not verify"):
        open_envelope(respell(seal_envelope(b"payload", [signer]), change), trusted=[signer.public])


def test_step_5_an_unsigned_envelope_opens_only_if_asked_for() -> None:
    envelope = seal_envelope(b"payload", [])
    with pytest.raises(TrustError, match="not signed"):
        open_envelope(envelope, trusted=[ONE.public])
    assert open_envelope(envelope, trusted=[], allow_unsigned=True).signer == ""


def test_a_signature_is_added_beside_or_instead_of_others() -> None:
    envelope = add_signature(seal_envelope(b"payload", [ONE]), CURVED)
    assert envelope == seal_envelope(b"payload", [ONE, CURVED])
    assert add_signature(envelope, OTHER, replace=True) == seal_envelope(b"payload", [OTHER])
    assert add_signature(envelope, ONE, replace=True) == seal_envelope(b"payload", [ONE])
    with pytest.raises(InputError, match="already"):
        add_signature(envelope, ONE)


def test_other_curves_are_no_keys() -> None:
    with pytest.raises(InputError, match="P-256"):
        PublicKey(ec.generate_private_key(ec.SECP384R1()).public_key())


@EVERY
def test_a_signer_shows_nothing_of_its_key(signer: KeySigner) -> None:
    assert bytes([1] * 32).hex() not in repr(signer)
    assert "PrivateKey" not in repr(signer)
