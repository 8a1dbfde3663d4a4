"""Keys in a real cluster: images that must be signed, and a stolen key of the controller."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from intact.adapters.registry.access import Endpoint, RegistryAccess
from intact.adapters.registry.artifact import OCI_MANIFEST
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.signatures import COSIGN_TAG_SUFFIX, SIGNATURE_ANNOTATION, SIMPLE_SIGNING
from intact.adapters.registry.upload import push_blob, push_manifest
from intact.baseline.signing import KeySigner
from intact.baseline.trust import TrustRoot
from intact.baseline.trust_document import encode_trust, parse_trust
from intact.model.digest import Digest
from lab.install import install
from tests.cluster.kubernetes import eventually
from tests.cluster.whole import SYSTEM, Image, Installed, Shop

pytestmark = [pytest.mark.root, pytest.mark.cluster]

SPREAD_S = 240.0
"""A kubelet brings a changed ConfigMap into a pod within a minute or two."""


def sign_image(image: Image, signer: KeySigner) -> None:
    """As `cosign sign --key` does (specs/SIGNATURE_SPEC.md)."""
    name, _, digest = image.digest.partition("@")
    host, _, repository = name.partition("/")
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    payload = json.dumps({"critical": critical, "optional": None}).encode()
    config = b"{}"
    client = RepositoryClient(RegistryAccess(plain_http=frozenset({host})), Endpoint(host=host, repository=repository), actions="pull,push")
    try:
        for blob in (payload, config):
            push_blob(client, Digest.of(blob), memoryview(blob), lambda done, total: None)
        layer = describe(SIMPLE_SIGNING, payload) | {"annotations": {SIGNATURE_ANNOTATION: b64encode(signer.sign(payload)).decode()}}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer]}
        manifest["config"] = describe("application/vnd.oci.image.config.v1+json", config)
        push_manifest(client, digest.replace(":", "-") + COSIGN_TAG_SUFFIX, OCI_MANIFEST, json.dumps(manifest).encode())
    finally:
        client.close()


def describe(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def test_an_unsigned_image_is_an_incident_until_it_is_signed_and_a_signed_one_is_none(installed: Installed, shop: Shop) -> None:
    signer, stranger = (KeySigner(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    signed, unsigned = installed.push("signed"), installed.push("unsigned")
    sign_image(signed, signer)
    sign_image(unsigned, stranger)
    for app, image in (("signed", signed), ("unsigned", unsigned)):
        shop.policy(app, baseline={"signedBy": [{"name": "ci", "key": signer.public.pem.decode()}]})
        shop.deploy(app, image.tag)
    incident = shop.wait_incident("unsigned")
    assert incident["status"]["cause"] == "ImageTrust"
    assert "none of the keys that are accepted" in json.dumps(incident["status"])
    assert shop.incident("signed") is None
    sign_image(unsigned, signer)
    shop.wait_incident("unsigned", lambda status: status["state"] == "Resolved", 180.0)
    assert len(shop.alerts("unsigned", "opened")) <= 1


def read_published(installed: Installed) -> TrustRoot:
    found = installed.read("configmap", "intact-ca", "-n", SYSTEM)
    return parse_trust(found["data"]["trust.json"].encode())


@pytest.fixture
def trusting(installed: Installed, tmp_path: Path) -> Iterator[Path]:
    """Where this test's trust root is; afterwards the chart has none again."""
    yield tmp_path / "trust.json"
    helm(installed, "--set-string=baselines.trustRoot=")


def helm(installed: Installed, *arguments: str) -> None:
    receivers = installed.receivers
    values = {"notify.syslog": receivers.syslog, "notify.webhook.url": receivers.webhook}
    install(installed.cluster, values=values, arguments=arguments)


def test_a_revoked_key_of_the_controller_is_replaced_and_nodes_obtain_their_baselines_again(
    installed: Installed, shop: Shop, trusting: Path
) -> None:
    image = installed.push(f"v{uuid.uuid4().hex[:4]}")
    shop.deploy("web", image.tag)
    shop.wait_intact("web")
    before = read_published(installed)
    stolen = before.keys[-1].key
    people = TrustRoot(version=0).revoke(stolen.id, 1.0, "read by somebody")
    trusting.write_bytes(encode_trust(people))
    helm(installed, f"--set-file=baselines.trustRoot={trusting}")

    def is_replaced() -> TrustRoot | None:
        root = read_published(installed)
        return root if stolen.id in root.revoked_ids else None

    after = eventually(is_replaced, SPREAD_S)
    assert after.version > before.version
    assert stolen not in after.for_new(2e9).keys
    assert after.for_new(2e9).keys

    def was_doubted() -> bool:
        logs = installed.kubectl("-n", SYSTEM, "logs", "daemonset/intact-agent", "--tail=-1", "-c", "agent")
        return "baselines_doubted" in logs or '"revoked": 1' in logs or "revoked=1" in logs

    eventually(was_doubted, SPREAD_S)
    shop.wait_intact("web", timeout_s=SPREAD_S)
