"""Signatures with an identity, as the public Sigstore's users really made them, and what somebody makes of them. Numbers are those of
`adapters.sigstore.identities`; `bundles/README.md` says what the data is."""

from __future__ import annotations

import json
import socket
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.sigstore.identities import MAX_ROOT_BYTES, SigstoreIdentities
from intact.baseline.image_signature import find_signer
from intact.baseline.ports import CANNOT_VERIFY, MAX_BUNDLE_BYTES, UnverifiedSignature
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TrustError
from intact.model.policy import Signatory

BUNDLES = Path(__file__).parent / "bundles"
TRUSTED_ROOT = BUNDLES / "trusted_root.json"
WORKFLOW = "https://github.com/too-legit/attest/.github/workflows/integration.yml@refs/heads/main"
SIGNER = Signatory(identity=WORKFLOW, issuer="https://token.actions.githubusercontent.com/hammer-time", name="ci")
SHARED = Signatory(
    identity="https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml@09b495c3f12c7881b3cc17209a327792065c1a1d",
    issuer="https://token.actions.githubusercontent.com",
)
PERSON = Signatory(identity="cody@soyland.com", issuer="https://github.com/login/oauth")
IMAGE = Digest.parse("sha256:afa27b44d43b02a9fea41d13cedc2e4016cfcf87c5dbf990e593669aa8ce286d")
ATTESTED = Digest.parse("sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa4")
IDENTITIES = SigstoreIdentities(TRUSTED_ROOT)

Document = dict[str, Any]


def read(name: str) -> bytes:
    return (BUNDLES / f"{name}.json").read_bytes()


def read_document(name: str = "provenance") -> Document:
    document: Document = json.loads(read(name))
    return document


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "signer"), [("provenance", SIGNER), ("reusable-workflow", SHARED), ("attestation", PERSON)], ids=lambda one: str(one)[:12]
)
@pytest.mark.parametrize("root", [TRUSTED_ROOT, None], ids=["given", "shipped"])
def test_what_an_accepted_identity_signed_counts_against_a_given_root_and_the_one_that_is_shipped(
    name: str, signer: Signatory, root: Path | None
) -> None:
    opened = SigstoreIdentities(root).open_bundle(read(name), [PERSON, SIGNER, SHARED])
    assert opened.signer == f"{signer.identity} of {signer.issuer}"
    assert opened.payload == b64decode(read_document(name)["dsseEnvelope"]["payload"])


def test_step_1_nothing_larger_than_a_bundle_is_looked_at() -> None:
    with pytest.raises(InputError, match="larger"):
        IDENTITIES.open_bundle(read("provenance") + b" " * MAX_BUNDLE_BYTES, [SIGNER])


@pytest.mark.parametrize(
    "identity",
    [
        WORKFLOW[:-1],
        WORKFLOW + "/",
        WORKFLOW.upper(),
        WORKFLOW.replace("too-legit/", "too-legit/../other/"),
        "https://github.com/too-legit/attest/.github/workflows/integration.yml@refs/tags/*",
        "https://github.com/too-legit/attest/.github/workflows/other.yml@refs/heads/*",
        PERSON.identity,
    ],
)
def test_step_2_another_identity_does_not_count(identity: str) -> None:
    with pytest.raises(TrustError, match="which is not accepted") as caught:
        IDENTITIES.open_bundle(read("provenance"), [Signatory(identity=identity, issuer=SIGNER.issuer)])
    assert caught.value.code == "OtherIdentity"


def test_step_2_a_beginning_counts_where_a_branch_is_open() -> None:
    beginning = Signatory(identity=WORKFLOW.removesuffix("main") + "*", issuer=SIGNER.issuer)
    assert IDENTITIES.open_bundle(read("provenance"), [beginning]).signer == f"{WORKFLOW} of {SIGNER.issuer}"


@pytest.mark.parametrize("issuer", [SHARED.issuer, SIGNER.issuer + "/", SIGNER.issuer[:-1], "https://accounts.google.com"])
def test_step_2_the_same_identity_that_another_issuer_vouches_for_does_not_count(issuer: str) -> None:
    with pytest.raises(TrustError, match="issuer that is not accepted"):
        IDENTITIES.open_bundle(read("provenance"), [Signatory(identity=WORKFLOW, issuer=issuer)])


def test_step_2_an_identity_counts_with_its_own_issuer_and_not_with_that_of_another_entry() -> None:
    crossed = [Signatory(identity=WORKFLOW, issuer=SHARED.issuer), Signatory(identity=SHARED.identity, issuer=SIGNER.issuer)]
    for name in ("provenance", "reusable-workflow"):
        with pytest.raises(TrustError, match="issuer that is not accepted"):
            IDENTITIES.open_bundle(read(name), crossed)
    assert IDENTITIES.open_bundle(read("provenance"), [*crossed, SIGNER]).signer.startswith(WORKFLOW)


BEFORE, AFTER = "2024-09-11T00:00:00Z", "2024-09-12T00:00:00Z"
"""The bundle is of the evening of the 11th."""


@pytest.mark.parametrize(
    ("part", "named"),
    [("tlogs", "transparency log"), ("ctlogs", "certificate log"), ("certificateAuthorities", "certificate authority")],
)
@pytest.mark.parametrize("valid", [{"end": BEFORE}, {"start": AFTER}], ids=["ended", "not-yet"])
def test_step_3_what_of_a_trusted_root_had_ended_or_not_begun_counts_for_nothing(
    part: str, named: str, valid: dict[str, str], tmp_path: Path
) -> None:
    def change(root: Document) -> None:
        for one in root[part]:
            place = one if part == "certificateAuthorities" else one["publicKey"]
            place["validFor"] |= valid

    with pytest.raises(TrustError, match=f"no {named} of the trusted root was valid"):
        with_root(tmp_path, change).open_bundle(read("provenance"), [SIGNER])


def test_step_3_what_ended_later_still_counts(tmp_path: Path) -> None:
    def change(root: Document) -> None:
        root["tlogs"][0]["publicKey"]["validFor"]["end"] = AFTER
        root["certificateAuthorities"][1]["validFor"]["end"] = AFTER

    assert with_root(tmp_path, change).open_bundle(read("provenance"), [SIGNER])


def with_root(directory: Path, change: Callable[[Document], None]) -> SigstoreIdentities:
    root = read_document("trusted_root")
    change(root)
    (directory / "root.json").write_bytes(encode(root))
    return SigstoreIdentities(directory / "root.json")


def swap_authority(root: Document) -> None:
    """Another Sigstore's: here the public one's first authority, which did not sign this certificate."""
    old, new = root["certificateAuthorities"]
    new["certChain"] = old["certChain"]


def swap_log_key(root: Document) -> None:
    root["tlogs"][0]["publicKey"]["rawBytes"] = root["ctlogs"][0]["publicKey"]["rawBytes"]


def swap_certificate_log(root: Document) -> None:
    del root["ctlogs"][1]
    root["ctlogs"][0]["publicKey"]["validFor"].pop("end")


@pytest.mark.parametrize("change", [swap_authority, swap_log_key, swap_certificate_log])
def test_step_4_what_another_trusted_root_does_not_know_does_not_count(change: Callable[[Document], None], tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no sigstore bundle that counts"):
        with_root(tmp_path, change).open_bundle(read("provenance"), [SIGNER])


def entry_of(bundle: Document) -> Document:
    entry: Document = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def drop_entries(bundle: Document) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = []


def drop_proof(bundle: Document) -> None:
    del entry_of(bundle)["inclusionProof"]


def drop_promise(bundle: Document) -> None:
    """Nobody who is trusted says then when it was made."""
    del entry_of(bundle)["inclusionPromise"]


def drop_promise_and_time(bundle: Document) -> None:
    drop_promise(bundle)
    del entry_of(bundle)["integratedTime"]


def shift_time(bundle: Document) -> None:
    entry = entry_of(bundle)
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


def swap_entry(bundle: Document) -> None:
    """Of another signature, and good by itself (CVE-2022-36056)."""
    bundle["verificationMaterial"]["tlogEntries"] = read_document("reusable-workflow")["verificationMaterial"]["tlogEntries"]


def swap_certificate(bundle: Document) -> None:
    bundle["verificationMaterial"]["certificate"] = read_document("reusable-workflow")["verificationMaterial"]["certificate"]


def swap_payload(bundle: Document) -> None:
    envelope = bundle["dsseEnvelope"]
    envelope["payload"] = b64encode(b64decode(envelope["payload"]).replace(b"afa27b44", b"afa27b45")).decode()


def drop_signature(bundle: Document) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def add_signature(bundle: Document) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def be_a_plain_signature(bundle: Document) -> None:
    del bundle["dsseEnvelope"]
    bundle["messageSignature"] = {"messageDigest": {"algorithm": "SHA2_256", "digest": "AAAA"}, "signature": "AAAA"}


def have_a_key(bundle: Document) -> None:
    """As cosign makes it with a key: no certificate."""
    del bundle["verificationMaterial"]["certificate"]
    bundle["verificationMaterial"]["publicKey"] = {"hint": "x"}


@pytest.mark.parametrize(
    "change",
    [
        drop_entries, drop_proof, drop_promise, drop_promise_and_time, shift_time, swap_entry, swap_certificate, swap_payload,
        drop_signature, add_signature, be_a_plain_signature, have_a_key,
    ],
)  # fmt: skip
def test_step_4_a_bundle_that_lacks_a_proof_or_borrows_one_does_not_count(change: Callable[[Document], None]) -> None:
    bundle = read_document()
    change(bundle)
    with pytest.raises(TrustError):
        IDENTITIES.open_bundle(encode(bundle), [SIGNER, SHARED])


def test_step_4_a_log_entry_of_a_form_that_the_library_does_not_verify_does_not_count() -> None:
    sigstore = Signatory(
        identity="https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", issuer=SHARED.issuer
    )
    with pytest.raises(TrustError, match="dsse/hashedrekord"):
        IDENTITIES.open_bundle(read("intoto-entry"), [sigstore])


def test_whichever_byte_is_changed_it_does_not_count_or_says_what_it_said() -> None:
    """Spaces, and what the library reads as the same (the certificate that is repeated as a log's annotation, say), may differ."""
    seed = read("attestation")
    good = IDENTITIES.open_bundle(seed, [PERSON])
    refused = 0
    for position in range(len(seed)):
        changed = bytearray(seed)
        changed[position] ^= 1
        try:
            assert IDENTITIES.open_bundle(bytes(changed), [PERSON]) == good
        except (InputError, TrustError):
            refused += 1
    assert refused > len(seed) * 0.95


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[" * 100_000, b"\xff", b'{"mediaType": 1}', encode({"mediaType": "x"})])
def test_what_is_no_bundle_is_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(TrustError, match="no sigstore bundle"):
        IDENTITIES.open_bundle(data, [SIGNER])


def damage_root(part: str, text: str) -> bytes:
    """The first of `part` has `text` for each text that it holds."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: change(one) for key, one in value.items()}
        return [change(one) for one in value] if isinstance(value, list) else text

    root = read_document("trusted_root")
    return encode(root | {part: [change(root[part][0]), *root[part][1:]]})


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b'{"tlogs": 1}',
        b"[" * 100_000,
        b" " * (MAX_ROOT_BYTES + 1),
        *(encode(read_document("trusted_root") | {part: []}) for part in ("tlogs", "ctlogs", "certificateAuthorities")),
        *(
            damage_root(part, text)
            for part in ("tlogs", "ctlogs", "certificateAuthorities")
            for text in ("", "AAAA", "2024-01-01T00:00:00Z")
        ),
    ],
    ids=lambda one: str(one)[:20],
)
def test_without_a_trusted_root_nothing_is_said_of_any_image(data: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "root.json"
    if data is not None:
        file.write_bytes(data)
    for ask in (SigstoreIdentities(file).check, lambda: SigstoreIdentities(file).open_bundle(read("provenance"), [SIGNER])):
        with pytest.raises(PermanentError, match=r"no trusted root of Sigstore.*sigstoreTrustedRoot") as caught:
            ask()
        assert caught.value.code == CANNOT_VERIFY


def bundle(name: str) -> UnverifiedSignature:
    return UnverifiedSignature(form="bundle", payload=read(name))


def find(
    signatures: list[UnverifiedSignature], image: Digest = IMAGE, *signers: Signatory, verifier: SigstoreIdentities = IDENTITIES
) -> str:
    """Who signed, or why nobody did."""
    found = find_signer(signatures, image, [], identities=signers or [SIGNER, SHARED, PERSON], verifier=verifier)
    return found.signer or found.why


def test_an_image_that_an_accepted_workflow_built_is_signed_by_it() -> None:
    assert find([bundle("attestation"), bundle("reusable-workflow"), bundle("provenance")]) == f"{WORKFLOW} of {SIGNER.issuer}"


def test_the_provenance_of_another_image_does_not_do() -> None:
    assert f"it is the signature of {IMAGE}" in find([bundle("provenance")], Digest.of(b"another"))


def test_another_attestation_of_the_image_by_the_same_identity_is_not_passed_off_as_its_signature() -> None:
    assert "what was signed is not an image's signature" in find([bundle("attestation")], ATTESTED)


def test_the_form_under_a_tag_is_refused_with_what_to_do() -> None:
    assert "--new-bundle-format" in find([UnverifiedSignature(form="simple", payload=b"{}", signature=b"x")])


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where the extra is not installed: it can be neither found nor imported."""
    for name in [one for one in sys.modules if one.partition(".")[0] in ("sigstore", "sigstore_models")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("sigstore", "sigstore_models"):
        monkeypatch.setitem(sys.modules, name, None)
    yield


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("signatures", [[], [bundle("provenance")]], ids=["none", "one"])
@pytest.mark.parametrize("root", [TRUSTED_ROOT, None], ids=["given", "shipped"])
def test_without_the_library_an_image_is_neither_signed_nor_unsigned(signatures: list[UnverifiedSignature], root: Path | None) -> None:
    with pytest.raises(IntactError, match=r"sigstore is missing \(install .*keyless") as caught:
        find(signatures, verifier=SigstoreIdentities(root))
    assert caught.value.code == CANNOT_VERIFY
