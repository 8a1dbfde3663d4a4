"""Image signatures as cosign wrote them, and what somebody makes of them. Numbers are those of `baseline.image_signature`."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.baseline.image_signature import find_signer, verify_signature
from intact.baseline.ports import MAX_PAYLOAD_BYTES, UnverifiedSignature
from intact.baseline.signing import KeySigner, encode_pae
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TemporaryError, TrustError
from tests.unit.baseline.cosigned import ANNOTATED, BUNDLE, ED25519, IMAGE, P256, SIMPLE

OTHER_IMAGE = Digest.of(b"another image")
MINE = KeySigner(ec.derive_private_key(7, ec.SECP256R1()))
FORMS = pytest.mark.parametrize("signature", [SIMPLE, BUNDLE], ids=["simple", "bundle"])


def sign_simple(document: object, signer: KeySigner = MINE) -> UnverifiedSignature:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return UnverifiedSignature(form="simple", payload=payload, signature=signer.sign(payload))


def sign_bundle(statement: object, **changes: object) -> UnverifiedSignature:
    payload = json.dumps(statement).encode()
    kind = "application/vnd.in-toto+json"
    signature = b64encode(MINE.sign(encode_pae(kind, payload))).decode()
    envelope = {"payload": b64encode(payload).decode(), "payloadType": kind, "signatures": [{"sig": signature}]} | changes
    bundle = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope}
    return UnverifiedSignature(form="bundle", payload=json.dumps(bundle).encode())


@FORMS
def test_what_cosign_signed_counts(signature: UnverifiedSignature) -> None:
    assert verify_signature(signature, IMAGE, [P256, ED25519]) == P256.id


def test_step_1_nothing_larger_than_a_signature_is_looked_at() -> None:
    for large in (replace(SIMPLE, payload=b" " * (MAX_PAYLOAD_BYTES + 1)), replace(SIMPLE, signature=b"0" * 2000)):
        with pytest.raises(InputError, match="larger"):
            verify_signature(large, IMAGE, [P256])


@FORMS
def test_step_2_a_signature_by_another_key_does_not_count(signature: UnverifiedSignature) -> None:
    with pytest.raises(TrustError, match="none of the keys"):
        verify_signature(signature, IMAGE, [MINE.public])


@FORMS
def test_step_2_any_byte_of_a_payload_changed_and_it_does_not_count(signature: UnverifiedSignature) -> None:
    start, end = 0, len(signature.payload)
    if signature.form == "bundle":  # the rest of it is not signed and says nothing to us
        start, end = signature.payload.index(b'"payload":"') + 11, signature.payload.index(b'", "payloadType"')
    for position in range(start, end):
        changed = bytearray(signature.payload)
        changed[position] ^= 1
        with pytest.raises(IntactError):
            verify_signature(replace(signature, payload=bytes(changed)), IMAGE, [P256, ED25519])


@FORMS
def test_step_3_a_revoked_key_counts_for_nothing(signature: UnverifiedSignature) -> None:
    with pytest.raises(TrustError, match="was stolen"):
        verify_signature(signature, IMAGE, [P256, ED25519], {P256.id: "was stolen"})


def critical(**changes: object) -> dict[str, object]:
    image = {"docker-manifest-digest": str(IMAGE)}
    return {"critical": {"identity": {}, "image": image, "type": "cosign container image signature"} | changes, "optional": None}


STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"digest": {"sha256": IMAGE.hex}}],
    "predicateType": "https://sigstore.dev/cosign/sign/v1",
}


def test_what_we_make_ourselves_counts_so_that_what_follows_fails_for_its_own_reason() -> None:
    assert verify_signature(sign_simple(critical()), IMAGE, [MINE.public]) == MINE.public.id
    assert verify_signature(sign_bundle(STATEMENT), IMAGE, [MINE.public]) == MINE.public.id


@pytest.mark.parametrize(
    "signature",
    [
        sign_simple(critical(type="atomic container signature")),
        sign_simple(critical(type=None)),
        sign_simple({"critical": None}),
        sign_simple(critical(image={})),
        sign_simple([]),
        sign_simple(b"\xff"),
        sign_simple(b"[" * 50_000),
        sign_simple(json.dumps(critical()).replace('"optional"', '"critical": {}, "optional"').encode()),
        sign_bundle(STATEMENT | {"predicateType": "https://slsa.dev/provenance/v1"}),
        sign_bundle(STATEMENT | {"_type": "another"}),
        sign_bundle(STATEMENT | {"subject": None}),
        sign_bundle(STATEMENT, payloadType="text/plain"),
        sign_bundle(STATEMENT, signatures=[]),
        sign_bundle(STATEMENT, signatures=[{"sig": "?"}]),
        UnverifiedSignature(form="bundle", payload=b"{}"),
    ],
)
def test_step_4_another_document_by_the_same_key_is_not_passed_off_as_a_signature(signature: UnverifiedSignature) -> None:
    with pytest.raises((InputError, TrustError)):
        verify_signature(signature, IMAGE, [MINE.public])


@FORMS
def test_step_5_the_signature_of_another_image_does_not_count(signature: UnverifiedSignature) -> None:
    with pytest.raises(TrustError, match=str(IMAGE)):
        verify_signature(signature, OTHER_IMAGE, [P256, ED25519])


def test_step_5_a_digest_that_only_begins_or_ends_alike_does_not_count() -> None:
    for named in (f"{IMAGE} ", str(IMAGE)[:-1], IMAGE.hex, str(IMAGE).upper()):
        with pytest.raises(TrustError):
            verify_signature(sign_simple(critical(image={"docker-manifest-digest": named})), IMAGE, [MINE.public])


def test_pure_ed25519_counts_and_cosigns_ed25519ph_is_refused_with_what_to_do() -> None:
    signer = KeySigner(Ed25519PrivateKey.generate())
    assert verify_signature(sign_simple(critical(), signer), IMAGE, [signer.public]) == signer.public.id
    with pytest.raises(TrustError, match="use ECDSA P-256"):
        verify_signature(ANNOTATED, IMAGE, [ED25519])


def test_one_signature_that_counts_is_enough_and_no_other_is_asked_for() -> None:
    def endless() -> Iterator[UnverifiedSignature]:
        yield sign_simple(critical())
        yield SIMPLE
        raise AssertionError("nobody should have asked")

    assert find_signer(endless(), IMAGE, [P256]).signer == P256.id


def test_why_an_image_is_not_signed_is_said() -> None:
    assert find_signer([], IMAGE, [P256]).why == "it has no signature"
    assert "none of the keys" in find_signer([SIMPLE], IMAGE, [MINE.public]).why
    found = find_signer([SIMPLE, BUNDLE, ANNOTATED], OTHER_IMAGE, [P256])
    assert (found.signer, "none of its 3" in found.why) == ("", True)


def test_what_a_registry_could_not_say_is_not_called_unsigned() -> None:
    def broken() -> Iterator[UnverifiedSignature]:
        raise TemporaryError("out of reach")
        yield SIMPLE

    with pytest.raises(TemporaryError):
        find_signer(broken(), IMAGE, [P256])


def test_naming_no_key_is_refused_rather_than_accepting_all() -> None:
    with pytest.raises(InputError):
        find_signer([SIMPLE], IMAGE, [])
