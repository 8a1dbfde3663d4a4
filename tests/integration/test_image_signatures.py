"""What cosign wrote, in real registries with and without a referrers API: found in each of its three forms; and what a registry hides."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from intact.adapters.registry.access import Endpoint, RegistryAccess
from intact.adapters.registry.artifact import OCI_INDEX, OCI_MANIFEST
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.signatures import BUNDLE_ARTIFACT, iterate_signatures
from intact.adapters.registry.upload import push_blob, push_manifest
from intact.baseline.image_signature import find_signer
from intact.baseline.signing import PublicKey
from intact.model.digest import Digest
from intact.model.errors import IntactError
from lab.registries import ReferrersRegistry, Registry
from tests.unit.adapters.sigstore.test_identities import BUNDLES, IDENTITIES, SHARED, SIGNER
from tests.unit.adapters.sigstore.test_identities import IMAGE as BUILT
from tests.unit.baseline.cosigned import BUNDLE, IMAGE, P256, SIMPLE, read

AnyRegistry = Registry | ReferrersRegistry
STRANGER = PublicKey(ec.derive_private_key(7, ec.SECP256R1()).public_key())
TAG = f"sha256-{IMAGE.hex}"


@pytest.fixture(scope="module", params=["tag", "api"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyRegistry]:
    kind = Registry if request.param == "tag" else ReferrersRegistry
    with kind(tmp_path_factory.mktemp(f"registry-{request.param}")) as registry:
        yield registry


@pytest.fixture
def client(registry: AnyRegistry, request: pytest.FixtureRequest) -> Iterator[RepositoryClient]:
    """A repository of the test's own, with all blobs that cosign pushed."""
    repository = request.node.name.partition("[")[0][-40:].strip("_")
    client = RepositoryClient(
        RegistryAccess(plain_http=frozenset({registry.host})), Endpoint(host=registry.host, repository=repository), actions="pull,push"
    )
    for data in (read("payload.json"), read("payload-annotated.json"), read("bundle.json"), read("config.json"), b"{}"):
        push_blob(client, Digest.of(data), memoryview(data), lambda done, total: None)
    yield client
    client.close()


def push(client: RepositoryClient, name: str, *, tag: str = "", media_type: str = OCI_MANIFEST) -> None:
    push_manifest(client, tag or str(Digest.of(read(name))), media_type, read(name))


def test_without_a_signature_there_is_none(client: RepositoryClient) -> None:
    assert list(iterate_signatures([client], IMAGE)) == []


def test_signatures_under_cosigns_tag_are_found(client: RepositoryClient) -> None:
    push(client, "tag.manifest.json", tag=f"{TAG}.sig")
    assert next(iter(iterate_signatures([client], IMAGE))) == SIMPLE
    assert find_signer(iterate_signatures([client], IMAGE), IMAGE, [P256]).signer == P256.id
    assert find_signer(iterate_signatures([client], IMAGE), IMAGE, [STRANGER]).signer == ""


def test_signatures_attached_as_referrers_and_in_a_bundle_are_found(registry: AnyRegistry, client: RepositoryClient) -> None:
    push(client, "referrer.manifest.json")
    push(client, "bundle.manifest.json")
    if isinstance(registry, Registry):
        push(client, "fallback.index.json", tag=TAG, media_type=OCI_INDEX)
    found = list(iterate_signatures([client], IMAGE))
    assert SIMPLE in found
    assert BUNDLE in found
    assert find_signer([one for one in found if one.form == "bundle"], IMAGE, [P256]).signer == P256.id


def test_the_provenance_that_a_forge_attached_counts_for_the_workflow_that_built_the_image(
    registry: AnyRegistry, client: RepositoryClient
) -> None:
    data = (BUNDLES / "provenance.json").read_bytes()
    push_blob(client, Digest.of(data), memoryview(data), lambda done, total: None)
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE_ARTIFACT,
            "config": empty,
            "layers": [{"mediaType": BUNDLE_ARTIFACT, "digest": str(Digest.of(data)), "size": len(data)}],
            "subject": {"mediaType": OCI_MANIFEST, "digest": str(BUILT), "size": 500},
        }
    ).encode()
    push_manifest(client, str(Digest.of(manifest)), OCI_MANIFEST, manifest)
    if isinstance(registry, Registry):
        entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(manifest)), "size": len(manifest), "artifactType": BUNDLE_ARTIFACT}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
        push_manifest(client, f"sha256-{BUILT.hex}", OCI_INDEX, index)
    found = find_signer(iterate_signatures([client], BUILT), BUILT, [P256], identities=[SIGNER], verifier=IDENTITIES)
    assert found.signer == f"{SIGNER.identity} of {SIGNER.issuer}"
    assert (
        "which is not accepted" in find_signer(iterate_signatures([client], BUILT), BUILT, [], identities=[SHARED], verifier=IDENTITIES).why
    )


def test_signatures_of_another_image_under_this_ones_tag_do_not_count(client: RepositoryClient) -> None:
    other = Digest.of(b"another")
    push(client, "tag.manifest.json", tag=f"sha256-{other.hex}.sig")
    found = find_signer(iterate_signatures([client], other), other, [P256])
    assert (found.signer, str(IMAGE) in found.why) == ("", True)


def test_a_signature_that_is_no_signature_is_not_called_none(client: RepositoryClient) -> None:
    manifest = json.loads(read("tag.manifest.json"))
    for layer in manifest["layers"]:
        layer["annotations"] = {}
    push_manifest(client, f"{TAG}.sig", OCI_MANIFEST, json.dumps(manifest).encode())
    assert "none of its 2 signatures counts" in find_signer(iterate_signatures([client], IMAGE), IMAGE, [P256]).why


def test_a_mirror_without_the_signature_does_not_hide_it_and_one_that_is_down_does_not_matter(client: RepositoryClient) -> None:
    push(client, "tag.manifest.json", tag=f"{TAG}.sig")
    empty = RepositoryClient(client.access, Endpoint(host=client.endpoint.host, repository="somewhere/else", is_mirror=True))
    assert find_signer(iterate_signatures([empty, client], IMAGE), IMAGE, [P256]).signer == P256.id


def test_a_registry_out_of_reach_is_an_error_and_not_the_absence_of_signatures(tmp_path: Path) -> None:
    access = RegistryAccess(plain_http=frozenset({"127.0.0.1:1"}))
    with pytest.raises(IntactError):
        list(iterate_signatures([RepositoryClient(access, Endpoint(host="127.0.0.1:1", repository="a/b"))], IMAGE))
