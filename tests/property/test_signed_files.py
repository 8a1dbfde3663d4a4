"""A signed baseline file has one spelling: whichever byte is changed, it is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.baseline.document import encode_document, load_document, replace_envelope, split_document
from intact.baseline.signing import KeySigner
from intact.model.errors import IntactError, TrustError
from intact.model.layer import Grade
from tests.unit.baseline.test_signing import make_high, respell
from tests.unit.baseline.vectors import make_baseline

ED25519 = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
ECDSA = KeySigner(ec.derive_private_key(7, ec.SECP256R1()))
UNKNOWN = KeySigner(ec.derive_private_key(8, ec.SECP256R1()))


@pytest.mark.parametrize(
    ("signers", "trusted"),
    [([ED25519], ED25519), ([ECDSA], ECDSA), ([ED25519, ECDSA], ECDSA), ([UNKNOWN, ED25519], ED25519)],
    ids=["ed25519", "ecdsa-p256", "both", "beside a key nobody knows"],
)
def test_a_signed_file_with_any_byte_changed_is_refused(signers: list[KeySigner], trusted: KeySigner) -> None:
    data = encode_document(make_baseline(), signers)
    assert load_document(data, trusted=[trusted.public]).grade is Grade.SIGNED
    for position in range(len(data)):
        for flip in (0x01, 0x80):
            changed = bytearray(data)
            changed[position] ^= flip
            with pytest.raises(IntactError):
                load_document(bytes(changed), trusted=[trusted.public])


@pytest.mark.parametrize("signer", [ED25519, ECDSA], ids=["ed25519", "ecdsa-p256"])
def test_also_the_envelope_alone_refuses_any_changed_byte(signer: KeySigner) -> None:
    """Without the file's checksum, which whoever changes the file on purpose computes anew."""
    data = encode_document(make_baseline(), [signer])
    envelope, _ = split_document(memoryview(data))
    for position in range(len(envelope)):
        changed = bytearray(envelope)
        changed[position] ^= 0x01
        with pytest.raises(IntactError):
            load_document(replace_envelope(data, bytes(changed)), trusted=[signer.public])


def test_a_file_cut_short_or_with_something_behind_it_is_refused() -> None:
    data = encode_document(make_baseline(), [ECDSA])
    for changed in (*(data[:end] for end in range(len(data))), data + b"\0"):
        with pytest.raises(IntactError):
            load_document(changed, trusted=[ECDSA.public])


def test_a_signature_replaced_by_its_high_twin_is_refused() -> None:
    data = encode_document(make_baseline(), [ECDSA])
    envelope, _ = split_document(memoryview(data))
    with pytest.raises(TrustError):
        load_document(replace_envelope(data, respell(envelope, make_high)), trusted=[ECDSA.public])
