"""Image signatures, trust roots and envelopes, on anything: a value or an expected error, and never a signature that nobody made.

INTACT_FUZZ_EXAMPLES sets how long to try.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.registry.artifact import load_object
from intact.adapters.sigstore.identities import SigstoreIdentities
from intact.baseline.image_signature import verify_signature
from intact.baseline.ports import UnverifiedSignature
from intact.baseline.receipt import open_receipt, seal_receipt
from intact.baseline.signing import PublicKey, add_signature, seal_envelope
from intact.baseline.trust import TrustedKey, TrustRoot
from intact.baseline.trust_document import encode_trust, parse_trust
from intact.model.errors import InputError, IntactError, PermanentError, TrustError
from tests.fuzz.test_ingest_fuzz import FUZZ, damaged
from tests.unit.adapters.sigstore.test_identities import IDENTITIES, SIGNER, TRUSTED_ROOT
from tests.unit.adapters.sigstore.test_identities import read as read_bundle
from tests.unit.baseline.cosigned import ED25519, EVERY, IMAGE, P256, read
from tests.unit.baseline.test_signing import CURVED, ONE

ROOT = TrustRoot(version=3, keys=(TrustedKey(key=P256, name="ci", valid_until=9.0), TrustedKey(key=ED25519))).revoke(P256.id, 1.0, "x")
SIGSTORE_BUNDLE = read_bundle("provenance")
OPENED = IDENTITIES.open_bundle(SIGSTORE_BUNDLE, [SIGNER])
ENVELOPE = seal_envelope(b"{}", [ONE])


@FUZZ
@given(st.sampled_from(EVERY), st.data())
def test_image_signatures(seed: UnverifiedSignature, data: st.DataObject) -> None:
    changed = replace(seed, payload=data.draw(damaged(seed.payload)), signature=data.draw(st.sampled_from([seed.signature, b""])))
    try:
        verify_signature(changed, IMAGE, [P256, ED25519])
    except (InputError, TrustError):
        return
    assert changed.payload == seed.payload or seed.form == "bundle"


@FUZZ
@given(st.binary(max_size=300), st.binary(max_size=100), st.sampled_from(["simple", "bundle"]))
def test_anything_as_an_image_signature(payload: bytes, signature: bytes, form: str) -> None:
    try:
        verify_signature(UnverifiedSignature(form=form, payload=payload, signature=signature), IMAGE, [P256])  # type: ignore[arg-type]
    except (InputError, TrustError):
        return
    raise AssertionError("nobody signed this")


@FUZZ
@given(damaged(SIGSTORE_BUNDLE) | st.binary(max_size=300))
def test_bundles_with_an_identity(data: bytes) -> None:
    try:
        opened = IDENTITIES.open_bundle(data, [SIGNER])
    except (InputError, TrustError):
        return
    assert opened == OPENED


@FUZZ
@given(damaged(TRUSTED_ROOT.read_bytes()))
def test_trusted_roots_of_sigstore(data: bytes) -> None:
    with TemporaryDirectory() as directory, contextlib.suppress(InputError, TrustError, PermanentError):
        file = Path(directory) / "root.json"
        file.write_bytes(data)
        assert SigstoreIdentities(file).open_bundle(SIGSTORE_BUNDLE, [SIGNER]) == OPENED


@FUZZ
@given(st.one_of(st.binary(max_size=400), damaged(encode_trust(ROOT)), damaged(P256.pem), st.text(max_size=200).map(str.encode)))
def test_trust_roots(data: bytes) -> None:
    try:
        root = parse_trust(data)
    except InputError:
        return
    if root.version:
        assert parse_trust(encode_trust(root)) == root


@FUZZ
@given(st.one_of(st.binary(max_size=300), damaged(P256.pem)))
def test_public_keys(data: bytes) -> None:
    with contextlib.suppress(InputError):
        PublicKey.from_pem(data)


@FUZZ
@given(damaged(ENVELOPE))
def test_adding_a_signature(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        add_signature(data, CURVED)


@FUZZ
@given(damaged(seal_receipt(ENVELOPE, 5.0, ["x"], ONE)))
def test_receipts(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        receipt = open_receipt(data, [ONE.public])
        assert receipt is None or receipt.envelope == ENVELOPE


@FUZZ
@given(damaged(read("tag.manifest.json")))
def test_signature_manifests(data: bytes) -> None:
    with contextlib.suppress(InputError):
        load_object(data, "signature's manifest")
