"""Writing to registries that break off, forget and contradict: what is attached is whole, listed, and beside it nothing is lost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from intact.adapters.registry.access import Endpoint, Patience, RegistryAccess
from intact.adapters.registry.artifact import BASELINE_TYPE
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.referrers import list_baselines, referrers_tag
from intact.adapters.registry.upload import attach_baseline, push_alone, push_blob
from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, PermanentError, TemporaryError
from tests.attack.hostile_registry import Handler, HostileRegistry

SUBJECT = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=Digest.of(b"image"), size_bytes=5)
TAG = referrers_tag(SUBJECT.digest)
DATA = b"baseline" * 100_000


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as registry:
        yield registry


@pytest.fixture
def client(registry: HostileRegistry) -> Iterator[RepositoryClient]:
    patience = Patience(attempts=3, first_pause_s=0.01, longest_pause_s=0.05)
    access = RegistryAccess(plain_http=frozenset({registry.host}), patience=patience)
    client = RepositoryClient(access, Endpoint(host=registry.host, repository="team/app"), actions="pull,push")
    yield client
    client.close()


def attach(client: RepositoryClient, data: bytes = DATA) -> tuple[Digest, str]:
    return attach_baseline(client, SUBJECT, memoryview(data), {"a": "b"}, progress=lambda done, total: None)


def listed(registry: HostileRegistry) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(registry.manifests[TAG][1])["manifests"]
    return entries


def test_what_is_attached_is_listed_under_the_tag(registry: HostileRegistry, client: RepositoryClient) -> None:
    digest, how = attach(client)
    assert how == "tag"
    assert [(entry["digest"], entry["artifactType"]) for entry in listed(registry)] == [(str(digest), BASELINE_TYPE)]
    assert registry.blobs[str(Digest.of(DATA))] == DATA
    (found,) = list_baselines(client, SUBJECT.digest).referrers
    assert found.descriptor.digest == digest


def test_a_registry_that_says_it_knows_the_subject_needs_no_tag(registry: HostileRegistry, client: RepositoryClient) -> None:
    def know(handler: Handler) -> bool:
        if handler.command != "PUT" or "/manifests/" not in handler.path:
            return False
        handler.rfile.read(int(handler.headers["content-length"]))
        handler.answer(201, b"", oci_subject=str(SUBJECT.digest))
        return True

    registry.tricks.append(know)
    assert attach(client)[1] == "api"
    assert not registry.asked(TAG)


def test_an_upload_that_breaks_off_begins_again_from_its_start(registry: HostileRegistry, client: RepositoryClient) -> None:
    broken = [2]

    def break_off(handler: Handler) -> bool:
        if handler.command != "PUT" or "/uploads/" not in handler.path or not broken[0]:
            return False
        broken[0] -= 1
        handler.rfile.read(1000)
        handler.cut()
        return True

    registry.tricks.append(break_off)
    push_blob(client, Digest.of(DATA), memoryview(DATA), lambda done, total: None)
    assert registry.blobs == {str(Digest.of(DATA)): DATA}


def test_an_upload_that_breaks_off_for_ever_is_given_up(registry: HostileRegistry, client: RepositoryClient) -> None:
    def break_off(handler: Handler) -> bool:
        if handler.command == "PUT":
            handler.cut()
        return handler.command == "PUT"

    registry.tricks.append(break_off)
    with pytest.raises(TemporaryError):
        attach(client)
    assert not registry.manifests
    assert len([1 for method, _, _ in registry.requests if method == "PUT"]) <= 9


def test_another_writer_of_the_tag_loses_nothing_and_takes_nothing(registry: HostileRegistry, client: RepositoryClient) -> None:
    """Between our reading and looking again, somebody wrote an index that they had read before ours."""
    others = {"mediaType": "x", "digest": str(Digest.of(b"other")), "size": 1, "artifactType": "application/vnd.example"}
    interfered = [False]

    def interfere(handler: Handler) -> bool:
        if handler.command != "PUT" or TAG not in handler.path or interfered[0]:
            return False
        interfered[0] = True
        handler.rfile.read(int(handler.headers["content-length"]))
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [others]}
        handler.registry.manifests[TAG] = (index["mediaType"], json.dumps(index).encode())  # type: ignore[assignment]
        handler.answer(201, b"")
        return True

    registry.tricks.append(interfere)
    digest, _ = attach(client)
    assert [entry["digest"] for entry in listed(registry)] == [others["digest"], str(digest)]


def test_a_registry_that_forgets_the_tag_is_not_believed(registry: HostileRegistry, client: RepositoryClient) -> None:
    def forget(handler: Handler) -> bool:
        if handler.command != "PUT" or TAG not in handler.path:
            return False
        handler.rfile.read(int(handler.headers["content-length"]))
        handler.answer(201, b"")
        return True

    registry.tricks.append(forget)
    with pytest.raises(TemporaryError, match="others write"):
        attach(client)


def test_a_tag_that_is_an_image_is_not_overwritten(registry: HostileRegistry, client: RepositoryClient) -> None:
    registry.manifests[TAG] = ("application/vnd.oci.image.manifest.v1+json", b'{"schemaVersion":2,"layers":[]}')
    with pytest.raises((InputError, PermanentError), match="list of referrers"):
        attach(client)
    assert registry.manifests[TAG][1] == b'{"schemaVersion":2,"layers":[]}'


def test_a_tag_that_is_an_image_is_never_made_a_baseline(registry: HostileRegistry, client: RepositoryClient) -> None:
    image = ("application/vnd.oci.image.manifest.v1+json", b'{"schemaVersion":2,"layers":[]}')
    registry.manifests["web"] = image
    with pytest.raises(InputError, match="no baseline"):
        push_alone(client, "web", memoryview(DATA), {}, progress=lambda done, total: None)
    assert (registry.manifests["web"], registry.blobs) == (image, {}), "nothing was sent"


def test_a_registry_that_does_not_say_what_a_tag_is_gets_nothing(registry: HostileRegistry, client: RepositoryClient) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command == "GET":
            handler.answer(500, b"")
        return handler.command == "GET"

    registry.tricks.append(refuse)
    with pytest.raises((PermanentError, TemporaryError)):
        push_alone(client, "web", memoryview(DATA), {}, progress=lambda done, total: None)
    assert not registry.blobs and not registry.manifests


@pytest.mark.parametrize("status", [401, 403, 405, 413, 500])
def test_a_registry_that_does_not_take_it_says_so(registry: HostileRegistry, client: RepositoryClient, status: int) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command == "POST":
            handler.answer(status, b"")
        return handler.command == "POST"

    registry.tricks.append(refuse)
    with pytest.raises((PermanentError, TemporaryError)):
        attach(client)
    assert not registry.blobs


def test_a_registry_that_stores_it_under_another_digest_is_noticed(registry: HostileRegistry, client: RepositoryClient) -> None:
    def rename(handler: Handler) -> bool:
        if handler.command != "PUT" or "/manifests/" not in handler.path:
            return False
        handler.rfile.read(int(handler.headers["content-length"]))
        handler.answer(201, b"", docker_content_digest=str(Digest.of(b"other")))
        return True

    registry.tricks.append(rename)
    with pytest.raises(PermanentError, match="stored"):
        attach(client)
