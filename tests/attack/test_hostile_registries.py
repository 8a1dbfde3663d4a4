"""One test for each thing a registry, or who stands between, may try: nothing of it is believed, and all of it ends."""

import base64
import gzip
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.keys.signing import generate_key, load_private_key
from intact.adapters.registry.access import Endpoint, Patience, RegistryAccess
from intact.adapters.registry.artifact import BASELINE_TYPE
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.referrers import MAX_CANDIDATES, list_baselines
from intact.adapters.registry.source import RegistrySource
from intact.adapters.registry.upload import push_blob
from intact.baseline.document import encode_document
from intact.baseline.signing import KeySigner
from intact.baseline.trust import Trust
from intact.ingest.image import ingest
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.model.layer import Baseline
from intact.run.cluster.attached import find_attached
from lab import layers
from tests.attack.hostile_registry import Handler, HostileRegistry

QUICK = Patience(attempts=3, first_pause_s=0.01, longest_pause_s=0.05)
OCI = "application/vnd.oci.image."


def make_signer() -> KeySigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return KeySigner(Ed25519PrivateKey.generate())


class Stage:
    """A hostile registry with one honest image of two layers."""

    def __init__(self, registry: HostileRegistry) -> None:
        self.registry = registry
        self.layers = [self._layer(b"/one", 300_000), self._layer(b"/two", 1000)]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff for _, _, diff in self.layers]}}
        data = json.dumps(config).encode()
        self.config_digest = registry.add_blob(data)
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": self.config_digest, "size": len(data)},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": d, "size": size} for d, size, _ in self.layers],
        }
        self.manifest_digest = registry.add_manifest(self.manifest, "1")

    def _layer(self, name: bytes, size: int) -> tuple[str, int, str]:
        content = b"".join(hashlib.sha256(name + number.to_bytes(4, "big")).digest() for number in range(size // 32))
        tar = layers.build_tar([layers.file(name, content)])
        blob = gzip.compress(tar, 1)
        return self.registry.add_blob(blob), len(blob), "sha256:" + hashlib.sha256(tar).hexdigest()

    @property
    def access(self) -> RegistryAccess:
        return RegistryAccess(plain_http=frozenset({self.registry.host}), patience=QUICK)

    def source(self, reference: str = "1", **changed: Any) -> RegistrySource:
        return RegistrySource(self.registry.host, "team/app", reference, access=replace(self.access, **changed))

    def read(self, reference: str = "1", **changed: Any) -> Baseline:
        return ingest(self.source(reference, **changed), parallel=2)

    def trick(self, part: str, times: int | None = None) -> Callable[[Callable[[Handler], None]], None]:
        """Registers what `answer` does to requests whose path has `part`; used as a decorator."""
        left = [times]

        def register(answer: Callable[[Handler], None]) -> None:
            def asked(handler: Handler) -> bool:
                if part not in handler.path or left[0] == 0:
                    return False
                if left[0] is not None:
                    left[0] -= 1
                answer(handler)
                return True

            self.registry.tricks.append(asked)

        return register


@pytest.fixture
def stage() -> Iterator[Stage]:
    with HostileRegistry() as registry:
        yield Stage(registry)


def test_the_honest_image_is_read(stage: Stage) -> None:
    assert str(stage.read().key) == stage.config_digest


# -- lies


def test_a_manifest_other_than_the_one_asked_for_is_refused(stage: Stage) -> None:
    stage.registry.manifests[stage.manifest_digest] = (OCI + "manifest.v1+json", json.dumps(stage.manifest | {"annotations": {}}).encode())
    with pytest.raises(TrustError, match="the registry answers with"):
        stage.read(stage.manifest_digest)


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_of_other_bytes_is_refused(stage: Stage, which: int) -> None:
    digest, size, _ = stage.layers[which]
    stage.registry.blobs[digest] = gzip.compress(b"\0" * 10240)[:size].ljust(size, b"\0")
    with pytest.raises(TrustError, match="has the digest"):
        stage.read()


def test_a_layer_longer_than_its_descriptor_is_refused_at_once(stage: Stage) -> None:
    digest, size, _ = stage.layers[0]

    @stage.trick(digest)
    def endless(handler: Handler) -> None:
        handler.start(200, None)
        while not handler.registry.stopping.is_set():
            handler.wfile.write(b"\0" * 65536)

    with pytest.raises(TrustError, match=f"is longer than {size} bytes|has the digest"):
        stage.read()


def test_an_endless_manifest_is_refused(stage: Stage) -> None:
    @stage.trick("/manifests/")
    def endless(handler: Handler) -> None:
        handler.start(200, None, OCI + "manifest.v1+json")
        while not handler.registry.stopping.is_set():
            handler.wfile.write(b" " * 65536)

    with pytest.raises(InputError, match="answers with more than"):
        stage.read()


@pytest.mark.parametrize("stated", [1 << 60, 10])
def test_a_length_that_is_a_lie_is_refused(stage: Stage, stated: int) -> None:
    digest, size, _ = stage.layers[0]

    @stage.trick(digest)
    def lie(handler: Handler) -> None:
        at = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.start(200, stated)
        handler.wfile.write(handler.registry.blobs[digest][: stated if stated < size else None])
        if not at:
            handler.cut()

    if stated > size:
        assert str(stage.read().key) == stage.config_digest, "the bytes are all there: the digest decides"
    else:
        with pytest.raises(TemporaryError, match="ends after 10 of"):
            stage.read()


@pytest.mark.parametrize(
    "media_type", ["text/html", "application/json", "", OCI + "index.v1+json", "application/vnd.docker.distribution.manifest.v1+json"]
)
def test_a_manifest_with_a_wrong_content_type_is_refused(stage: Stage, media_type: str) -> None:
    stage.registry.manifests["1"] = (media_type, stage.registry.manifests["1"][1])
    with pytest.raises(InputError):
        stage.read()


def test_of_two_manifests_for_the_same_platform_the_first_is_taken_as_runtimes_do(stage: Stage) -> None:
    other = stage.registry.add_manifest(stage.manifest | {"annotations": {"other": "1"}})
    entries = [
        {"mediaType": OCI + "manifest.v1+json", "digest": digest, "size": len(stage.registry.manifests[digest][1]),
         "platform": {"os": "linux", "architecture": "amd64"}}
        for digest in (stage.manifest_digest, other)
    ]  # fmt: skip
    stage.registry.add_manifest({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": entries}, "multi")
    baseline = ingest(stage.source("multi"), platform="linux/amd64")
    assert stage.manifest_digest in baseline.aliases
    assert other not in baseline.aliases


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_layer_that_is_not_there_is_said_to_be_missing_not_altered(stage: Stage, concurrency: int) -> None:
    del stage.registry.blobs[stage.layers[1][0]]
    with pytest.raises(InputError, match="not found"):
        ingest(stage.source(), parallel=concurrency)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_layer_that_goes_on_where_nobody_should_go_is_not_said_to_be_altered(stage: Stage, concurrency: int) -> None:
    digest, size, _ = stage.layers[0]

    @stage.trick(digest)
    def bait(handler: Handler) -> None:
        if handler.headers.get("range") is None:
            handler.start(200, size)
            handler.wfile.write(handler.registry.blobs[digest][: size // 2])
            handler.cut()
        else:
            handler.answer(307, b"", location="http://198.51.100.1/x")

    with pytest.raises(InputError, match="without TLS"):
        ingest(stage.source(), parallel=concurrency)


# -- broken connections


@pytest.mark.parametrize("at", [0, 1, 100, 65536, 150_000, -1])
@pytest.mark.parametrize("honours_range", [True, False])
def test_a_layer_cut_off_anywhere_is_carried_on(stage: Stage, at: int, honours_range: bool) -> None:
    digest, size, _ = stage.layers[0]
    data = stage.registry.blobs[digest]

    @stage.trick(digest)
    def cut(handler: Handler) -> None:
        asked = handler.headers.get("range")
        if asked is None:
            handler.start(200, size)
            handler.wfile.write(data[:at])
            handler.cut()
        elif honours_range:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.answer(206, data[start:], content_range=f"bytes {start}-{size - 1}/{size}")
        else:
            handler.answer(200, data)

    if at == 0:  # nothing came: asked again from the start, and cut again
        with pytest.raises(TemporaryError):
            stage.read()
        assert len(stage.registry.asked(digest)) <= QUICK.attempts + 1
    else:
        assert str(stage.read().key) == stage.config_digest
        assert any("range" in headers for headers in stage.registry.asked(digest))


def test_another_part_than_the_one_asked_for_is_refused(stage: Stage) -> None:
    digest, size, _ = stage.layers[0]
    data = stage.registry.blobs[digest]

    @stage.trick(digest)
    def shifted(handler: Handler) -> None:
        if handler.headers.get("range") is None:
            handler.start(200, size)
            handler.wfile.write(data[:1000])
            handler.cut()
        else:
            handler.answer(206, data[500:], content_range=f"bytes 500-{size - 1}/{size}")

    with pytest.raises(PermanentError, match="another part"):
        stage.read()


def test_a_connection_that_breaks_after_every_few_bytes_is_given_up(stage: Stage) -> None:
    digest, size, _ = stage.layers[0]
    data = stage.registry.blobs[digest]

    @stage.trick(digest)
    def crumbs(handler: Handler) -> None:
        start = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.start(206 if start else 200, size - start, content_range=f"bytes {start}-{size - 1}/{size}")
        handler.wfile.write(data[start : start + 10])
        handler.cut()

    with pytest.raises(TemporaryError, match="again and again"):
        stage.read()
    assert len(stage.registry.asked(digest)) <= 101


@pytest.mark.parametrize("document", ["/manifests/", "config"])
def test_a_document_cut_off_every_time_is_a_temporary_error(stage: Stage, document: str) -> None:
    @stage.trick(stage.config_digest if document == "config" else document)
    def cut(handler: Handler) -> None:
        handler.start(200, 1000, OCI + "manifest.v1+json")
        handler.wfile.write(b"{")
        handler.cut()

    with pytest.raises(TemporaryError):
        stage.read()


def test_a_slow_trickle_is_given_up(stage: Stage) -> None:
    digest, size, _ = stage.layers[0]

    @stage.trick(digest)
    def drip(handler: Handler) -> None:
        start = int(handler.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.start(206 if start else 200, size - start, content_range=f"bytes {start}-{size - 1}/{size}")
        for at in range(start, size):
            if handler.registry.stopping.wait(0.05):
                return
            handler.wfile.write(handler.registry.blobs[digest][at : at + 1])

    patience = replace(QUICK, grace_s=0.2, attempts=1)
    with pytest.raises(TemporaryError, match="too slow"):
        stage.read(patience=patience)


def test_headers_that_never_end_are_cut_off(stage: Stage) -> None:
    @stage.trick("/manifests/")
    def drip(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
        while not handler.registry.stopping.wait(0.05):
            handler.wfile.write(b"a")

    started = time.monotonic()
    with pytest.raises(TemporaryError, match="does not answer in time"):
        stage.read(patience=replace(QUICK, head_s=0.5, attempts=1))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_overloaded_registry_is_asked_a_few_times_more(stage: Stage, status: int) -> None:
    @stage.trick("/manifests/", times=2)
    def busy(handler: Handler) -> None:
        handler.answer(status, b"", retry_after="0")

    assert str(stage.read().key) == stage.config_digest


def test_a_registry_that_wants_to_be_left_alone_for_a_year_is_not_waited_for(stage: Stage) -> None:
    @stage.trick("/manifests/")
    def busy(handler: Handler) -> None:
        handler.answer(429, b"", retry_after="31536000")

    with pytest.raises(TemporaryError, match="wants to be left alone"):
        stage.read()
    assert len(stage.registry.requests) == 1


# -- redirects and credentials


def login(tmp_path: Path, host: str) -> Path:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"ada:s3cret").decode()}}}))
    return path


def test_a_redirect_to_another_host_does_not_get_the_credentials(stage: Stage, tmp_path: Path) -> None:
    digest, _, _ = stage.layers[0]
    with HostileRegistry() as thief:
        thief.blobs = dict(stage.registry.blobs)

        @stage.trick("/v2/")
        def guarded(handler: Handler) -> None:
            if handler.headers.get("authorization", "") != "Basic " + base64.b64encode(b"ada:s3cret").decode():
                handler.answer(401, b"", www_authenticate='Basic realm="x"')
            elif digest in handler.path:
                handler.answer(307, b"", location=f"http://{thief.host}/v2/team/app/blobs/{digest}")
            else:
                handler.serve()

        hosts = frozenset({stage.registry.host, thief.host})
        stage.read(auth_files=(login(tmp_path, stage.registry.host),), plain_http=hosts)
        assert thief.requests
        assert not [1 for _, _, headers in thief.requests if "authorization" in headers]


def test_a_challenge_of_the_redirects_target_gets_no_answer(stage: Stage, tmp_path: Path) -> None:
    with HostileRegistry() as thief:

        def demand(handler: Handler) -> bool:
            handler.answer(401, b"", www_authenticate=f'Bearer realm="http://{thief.host}/token",service="x"')
            return True

        thief.tricks.append(demand)

        @stage.trick("/blobs/")
        def bait(handler: Handler) -> None:
            handler.answer(302, b"", location=f"http://{thief.host}/bait")

        hosts = frozenset({stage.registry.host, thief.host})
        with pytest.raises(PermanentError):
            stage.read(auth_files=(login(tmp_path, stage.registry.host),), plain_http=hosts)
        assert not [path for _, path, headers in thief.requests if "token" in path or "authorization" in headers]


@pytest.mark.parametrize(
    "location", ["http://198.51.100.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "https://user:word@127.0.0.1/x", "", "http://["]
)
def test_a_redirect_to_where_nobody_should_go_is_not_followed(stage: Stage, location: str) -> None:
    @stage.trick("/blobs/")
    def bait(handler: Handler) -> None:
        handler.answer(302, b"", location=location)

    with pytest.raises((InputError, PermanentError), match="redirect") as caught:
        stage.read()
    assert "word@" not in str(caught.value)


def test_a_redirect_loop_ends(stage: Stage) -> None:
    @stage.trick("/manifests/")
    def loop(handler: Handler) -> None:
        handler.answer(307, b"", location=handler.path)

    with pytest.raises(PermanentError, match="redirects"):
        stage.read()
    assert len(stage.registry.requests) < 10


def test_a_realm_that_redirects_does_not_pass_the_password_on(stage: Stage, tmp_path: Path) -> None:
    with HostileRegistry() as thief:

        @stage.trick("/v2/")
        def demand(handler: Handler) -> None:
            handler.answer(401, b"", www_authenticate=f'Bearer realm="http://{stage.registry.host}/token"')

        @stage.trick("/token")
        def bait(handler: Handler) -> None:
            handler.answer(307, b"", location=f"http://{thief.host}/token")

        hosts = frozenset({stage.registry.host, thief.host})
        with pytest.raises(PermanentError) as caught:
            stage.read(auth_files=(login(tmp_path, stage.registry.host),), plain_http=hosts)
        assert not thief.requests
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a\r\nx: y", "ü", None, 5, "with blank"])
def test_a_token_that_no_header_can_carry_is_refused(stage: Stage, token: object) -> None:
    @stage.trick("/v2/")
    def demand(handler: Handler) -> None:
        handler.answer(401, b"", www_authenticate=f'Bearer realm="http://{stage.registry.host}/token"')

    @stage.trick("/token")
    def give(handler: Handler) -> None:
        handler.answer(200, json.dumps({"token": token}).encode(), "application/json")

    with pytest.raises(PermanentError):
        stage.read()


def test_a_registry_that_never_is_content_with_a_token_ends_the_asking(stage: Stage, tmp_path: Path) -> None:
    @stage.trick("/v2/")
    def demand(handler: Handler) -> None:
        handler.answer(401, b"", www_authenticate=f'Bearer realm="http://{stage.registry.host}/token"')

    @stage.trick("/token")
    def give(handler: Handler) -> None:
        handler.answer(200, b'{"token": "good"}', "application/json")

    with pytest.raises(PermanentError, match="denies access"):
        stage.read(auth_files=(login(tmp_path, stage.registry.host),))
    assert len(stage.registry.requests) < 10


# -- referrers


def attach(stage: Stage, document: bytes, created: str = "2026-01-01T00:00:00Z", **changed: Any) -> dict[str, Any]:
    """A baseline's artifact as a registry would list it."""
    blob = stage.registry.add_blob(document)
    subject = {"mediaType": OCI + "manifest.v1+json", "digest": stage.manifest_digest, "size": len(stage.registry.manifests["1"][1])}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "artifactType": BASELINE_TYPE,
        "config": {"mediaType": BASELINE_TYPE, "digest": stage.registry.add_blob(b"{}"), "size": 2},
        "layers": [{"mediaType": BASELINE_TYPE, "digest": blob, "size": len(document)}],
        "subject": subject,
        "annotations": {"org.opencontainers.image.created": created},
        **changed,
    }
    digest = stage.registry.add_manifest(manifest)
    return {
        "mediaType": OCI + "manifest.v1+json",
        "digest": digest,
        "size": len(stage.registry.manifests[digest][1]),
        "artifactType": BASELINE_TYPE,
        "annotations": {"org.opencontainers.image.created": created},
    }


def list_as_api(stage: Stage, entries: list[dict[str, Any]], link: str = "") -> None:
    @stage.trick("/referrers/")
    def referrers(handler: Handler) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": entries}
        handler.answer(200, json.dumps(index).encode(), OCI + "index.v1+json", **({"link": link} if link else {}))


def find(stage: Stage, signer: KeySigner) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return find_attached(stage.source(), Trust(keys=(signer.public,)), platform="linux/amd64", note=notes.append), notes


def test_ten_thousand_referrers_are_a_bounded_effort_and_said(stage: Stage) -> None:
    signer, stranger = make_signer(), make_signer()
    genuine = attach(stage, encode_document(stage.read(), [signer]), "2026-06-01T00:00:00Z")
    bogus = [
        {**genuine, "digest": "sha256:" + hashlib.sha256(str(number).encode()).hexdigest(), "annotations": {}} for number in range(9999)
    ]
    list_as_api(stage, [*bogus, genuine])
    found, notes = find(stage, signer)
    assert found is not None, "without a date they come after it"
    stage.registry.tricks.clear()
    newer = [{**entry, "annotations": {"org.opencontainers.image.created": "2099-01-01T00:00:00Z"}} for entry in bogus]
    list_as_api(stage, [*newer, genuine])
    stage.registry.requests.clear()
    found, notes = find(stage, stranger)
    assert found is None
    assert any(f"the newest {MAX_CANDIDATES} are looked at" in note for note in notes)
    assert len(stage.registry.requests) < 2 * MAX_CANDIDATES + 10


def test_a_list_of_referrers_that_never_ends_is_bounded(stage: Stage) -> None:
    list_as_api(stage, [], link='</v2/team/app/referrers/next?n=1>; rel="next"')
    client = stage.source().clients[0]
    listing = list_baselines(client, Digest.parse(stage.manifest_digest))
    assert listing.notes
    assert len(stage.registry.requests) <= 102


def test_a_list_of_referrers_that_goes_on_elsewhere_is_not_followed(stage: Stage) -> None:
    list_as_api(stage, [], link='<http://198.51.100.1/v2/x>; rel="next"')
    with pytest.raises(PermanentError, match="another host"):
        list_baselines(stage.source().clients[0], Digest.parse(stage.manifest_digest))


def test_a_wrong_signer_costs_only_the_head_of_the_baseline(stage: Stage) -> None:
    signer, stranger = make_signer(), make_signer()
    document = encode_document(stage.read(), [stranger]) + b"\0" * (32 << 20)
    entry = attach(stage, document)
    list_as_api(stage, [entry])
    sent = [0]
    blob = "sha256:" + hashlib.sha256(document).hexdigest()

    @stage.trick(blob)
    def counted(handler: Handler) -> None:
        handler.start(200, len(document))
        for start in range(0, len(document), 1 << 16):
            handler.wfile.write(document[start : start + (1 << 16)])
            sent[0] += 1 << 16

    found, notes = find(stage, signer)
    assert found is None
    assert any("not a trusted key" in note for note in notes)
    assert sent[0] < len(document) // 2


def test_a_genuine_baseline_of_another_image_is_not_used(stage: Stage) -> None:
    signer = make_signer()
    with HostileRegistry() as other_registry:
        other = Stage(other_registry)
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        data = json.dumps(config).encode()
        digest = other_registry.add_blob(data)
        other_registry.add_manifest(
            other.manifest | {"layers": [], "config": {"mediaType": OCI + "config.v1+json", "digest": digest, "size": len(data)}}, "2"
        )
        foreign = encode_document(other.read("2"), [signer])
    list_as_api(stage, [attach(stage, foreign)])
    found, notes = find(stage, signer)
    assert found is None
    assert any("it is the baseline of" in note for note in notes)


@pytest.mark.parametrize("damage", ["blob", "subject", "size", "type", "cut"])
def test_an_artifact_that_lies_is_passed_over_for_an_older_one_that_does_not(stage: Stage, damage: str) -> None:
    signer = make_signer()
    document = encode_document(stage.read(), [signer])
    good = attach(stage, document, "2025-01-01T00:00:00Z")
    altered = bytearray(document)
    altered[-40] ^= 1
    bad_document = bytes(altered)
    match damage:
        case "subject":
            bad = attach(stage, bad_document, subject={"mediaType": OCI + "manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 1})
        case "size":
            digest = stage.registry.add_blob(document)
            bad = attach(stage, bad_document, layers=[{"mediaType": BASELINE_TYPE, "digest": digest, "size": len(document) - 1}])
        case "type":
            bad = attach(stage, bad_document, artifactType="application/vnd.example", config={"mediaType": "x", "digest": "x", "size": 1})
        case "cut":
            bad = attach(stage, document[: len(document) // 2])
        case _:
            bad = attach(stage, bad_document)
            stage.registry.blobs["sha256:" + hashlib.sha256(bad_document).hexdigest()] = document
    list_as_api(stage, [bad, good])
    found, notes = find(stage, signer)
    assert found is not None
    assert str(found.artifact) == good["digest"]
    assert any(bad["digest"] in note for note in notes)


@pytest.mark.parametrize(
    "answer", [b"[]", b"{", b"null", b'{"schemaVersion":2,"manifests":[1]}', b'{"schemaVersion":2,"manifests":{}}', b"\xff" * 100]
)
def test_a_list_of_referrers_that_is_none_is_an_error_and_nothing_is_found(stage: Stage, answer: bytes) -> None:
    @stage.trick("/referrers/")
    def referrers(handler: Handler) -> None:
        handler.answer(200, answer, OCI + "index.v1+json")

    with pytest.raises(IntactError):
        find(stage, make_signer())


# -- writing


def test_an_upload_to_another_place_gets_no_credentials_and_needs_tls(stage: Stage, tmp_path: Path) -> None:
    with HostileRegistry() as thief:

        @stage.trick("/blobs/uploads/")
        def bait(handler: Handler) -> None:
            handler.rfile.read(int(handler.headers.get("content-length", "0")))
            handler.answer(202, b"", location=f"http://{thief.host}/take")

        client = RepositoryClient(stage.access, Endpoint(host=stage.registry.host, repository="team/app"), actions="pull,push")
        with pytest.raises(PermanentError, match="no place to upload to"):
            push_blob(client, Digest.of(b"new"), memoryview(b"new"), lambda done, total: None)
        assert not thief.requests


@pytest.mark.parametrize("command", ["pull", "push", "build"])
def test_what_is_interrupted_leaves_nothing_half_written(stage: Stage, tmp_path: Path, command: str) -> None:
    """The registry stands still in the middle; Ctrl-C ends the command, and neither a file nor a name in the registry is left."""
    signer_stem = tmp_path / "K"
    generate_key(signer_stem)
    document = encode_document(stage.read(), [KeySigner(load_private_key(tmp_path / "K.pem"))])
    (tmp_path / "in").write_bytes(document)
    list_as_api(stage, [attach(stage, document)] if command == "pull" else [])
    reached = threading.Event()

    def stand_still(handler: Handler) -> None:
        handler.start(200, len(document))
        handler.wfile.write(document[: len(document) // 2])
        handler.wfile.flush()
        reached.set()
        handler.registry.stopping.wait()

    def take_no_more(handler: Handler) -> None:
        if handler.command == "POST":
            handler.answer(202, b"", location=f"http://{stage.registry.host}/v2/team/app/blobs/uploads/1")
        else:
            reached.set()
            handler.registry.stopping.wait()

    match command:
        case "pull":
            stage.trick("sha256:" + hashlib.sha256(document).hexdigest())(stand_still)
        case "push":
            stage.trick("/blobs/uploads/")(take_no_more)
        case _:
            stage.trick(stage.layers[0][0])(stand_still)
    name = f"docker://{stage.registry.host}/team/app:1"
    options = {"pull": (name, "-o", "out", "--trust", "K.pub"), "push": ("in", name), "build": (name, "-o", "out", "--concurrency", "1")}[
        command
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = [sys.executable, "-m", "intact", "baseline", command, *options, "--plain-http", stage.registry.host]
    if command != "push":
        arguments += ["--platform", "linux/amd64"]
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert reached.wait(120), process.communicate(timeout=5)
        process.send_signal(signal.SIGINT)
        if command == "build":  # its reading thread is in the middle of a read: that ends when the registry does
            stage.registry.stopping.set()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not [1 for method, path, _ in stage.registry.requests if method == "PUT" and "/manifests/" in path]
