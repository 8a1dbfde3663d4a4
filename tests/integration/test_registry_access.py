"""Who may read a real registry, and over what: basic authentication, tokens, TLS by an authority of one's own, mirrors."""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.keys.signing import generate_key, load_private_key, load_public_key
from intact.adapters.layout.oci import LayoutSource
from intact.adapters.registry.access import Patience, RegistryAccess
from intact.adapters.registry.source import RegistrySource
from intact.baseline.document import encode_document
from intact.baseline.signing import KeySigner, PublicKey
from intact.baseline.trust import Trust
from intact.ingest.image import ingest
from intact.model.errors import IntactError, PermanentError, TrustError
from intact.model.layer import Baseline
from intact.run.cluster.attached import find_attached, push_attached
from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, copy_image, write_layout
from lab.pki import issue_server_certificate
from lab.registries import Registry
from lab.token_server import TokenServer

REPOSITORY = "team/app"
QUICK = Patience(first_pause_s=0.01, attempts=2)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    directory = tmp_path_factory.mktemp("image")
    packed = [pack_entries([layers.file(f"/{number}".encode(), os.urandom(100_000))], directory) for number in range(4)]
    return write_layout(directory / "layout", "docker.io/local/app:1", packed)


def auth_file(directory: Path, **entries: dict[str, str]) -> Path:
    path = directory / "auth.json"
    path.write_text(json.dumps({"auths": entries}))
    return path


def login(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def read(registry: Registry, access: RegistryAccess, reference: str = "1") -> Baseline:
    source = RegistrySource(registry.host, REPOSITORY, reference, access=access)
    try:
        return ingest(source, parallel=3)
    finally:
        source.close()


def plain(*hosts: str, **others: object) -> RegistryAccess:
    return replace(RegistryAccess(plain_http=frozenset(hosts), patience=QUICK), **others)  # type: ignore[arg-type]


class TestBasic:
    @pytest.fixture(scope="class")
    @staticmethod
    def registry(tmp_path_factory: pytest.TempPathFactory, image: ImageLayout) -> Iterator[Registry]:
        with Registry(tmp_path_factory.mktemp("basic"), users={"ada": "pass:word"}) as registry:
            copy_image(image.source, f"docker://{registry.host}/{REPOSITORY}:1", "--dest-creds=ada:pass:word")
            yield registry

    def test_the_right_password_reads(self, registry: Registry, image: ImageLayout, tmp_path: Path) -> None:
        file = auth_file(tmp_path, **{registry.host: login("ada", "pass:word")})
        assert str(read(registry, plain(registry.host, auth_files=(file,))).key) == image.config_digest

    def test_a_key_for_the_repository_beats_that_of_the_host(self, registry: Registry, tmp_path: Path) -> None:
        entries = {registry.host: login("ada", "wrong"), f"{registry.host}/team": login("ada", "pass:word")}
        read(registry, plain(registry.host, auth_files=(auth_file(tmp_path, **entries),)))

    def test_of_several_secrets_the_one_that_is_let_in_is_used(self, registry: Registry, tmp_path: Path) -> None:
        for name, password in (("a", "wrong"), ("b", "pass:word")):
            (tmp_path / f"{name}.json").write_text(json.dumps({"auths": {registry.host: login("ada", password)}}))
        read(registry, plain(registry.host, auth_directory=tmp_path))

    def test_no_or_wrong_credentials_are_denied_and_named_without_the_password(self, registry: Registry, tmp_path: Path) -> None:
        with pytest.raises(PermanentError, match="no credentials for it were found"):
            read(registry, plain(registry.host))
        file = auth_file(tmp_path, **{registry.host: login("ada", "s3cret-word")})
        with pytest.raises(PermanentError, match=r"auth\.json") as caught:
            read(registry, plain(registry.host, auth_files=(file,)))
        assert "s3cret-word" not in str(caught.value)

    def test_credentials_are_not_sent_without_tls_unless_it_was_chosen(self, registry: Registry, tmp_path: Path) -> None:
        file = auth_file(tmp_path, **{registry.host: login("ada", "pass:word")})
        with pytest.raises(IntactError, match="without TLS"):
            read(registry, plain(auth_files=(file,)))


class TestTokens:
    @pytest.fixture(scope="class")
    @staticmethod
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
        directory = tmp_path_factory.mktemp("tokens")
        with TokenServer(directory=directory, users={"ada": "word"}, identity_tokens={"identity"}) as server:
            yield server

    @pytest.fixture(scope="class")
    @staticmethod
    def registry(tmp_path_factory: pytest.TempPathFactory, server: TokenServer, image: ImageLayout) -> Iterator[Registry]:
        directory = tmp_path_factory.mktemp("token-registry")
        with Registry(directory, realm=server.realm, token_certificate=server.certificate) as registry:
            copy_image(image.source, f"docker://{registry.host}/{REPOSITORY}:1", "--dest-creds=ada:word")
            yield registry

    @pytest.fixture(autouse=True)
    def fresh(self, server: TokenServer) -> None:
        server.asked.clear()
        server.anonymous, server.lifetime_s = "", 300

    def test_a_token_for_everybody(self, registry: Registry, server: TokenServer) -> None:
        server.anonymous = "pull"
        read(registry, plain(registry.host, server.host))
        assert {asked.how for asked in server.asked} == {"anonymous"}
        assert server.asked[0].scope == f"repository:{REPOSITORY}:pull"
        assert len(server.asked) == 1, "one token serves all connections"

    def test_a_token_for_a_name_and_password(self, registry: Registry, server: TokenServer, tmp_path: Path) -> None:
        read(registry, plain(registry.host, server.host, auth_files=(auth_file(tmp_path, **{registry.host: login("ada", "word")}),)))
        assert [(asked.how, asked.user) for asked in server.asked] == [("basic", "ada")]

    def test_a_token_for_an_identity_token(self, registry: Registry, server: TokenServer, tmp_path: Path) -> None:
        entry = {"auth": "", "identitytoken": "identity"}
        read(registry, plain(registry.host, server.host, auth_files=(auth_file(tmp_path, **{registry.host: entry}),)))
        assert [asked.how for asked in server.asked] == ["refresh_token"]

    def test_one_token_serves_a_whole_push(self, registry: Registry, server: TokenServer, image: ImageLayout, tmp_path: Path) -> None:
        access = plain(registry.host, server.host, auth_files=(auth_file(tmp_path, **{registry.host: login("ada", "word")}),))
        generate_key(tmp_path / "K")
        baseline = ingest(LayoutSource(image.directory))
        document = encode_document(baseline, [KeySigner(load_private_key(tmp_path / "K.pem"))])
        pushed = push_attached(access, registry.host, REPOSITORY, "1", memoryview(document), baseline, now=0.0)
        assert (str(pushed.subject), pushed.how) == (image.manifest_digest, "tag")
        assert [asked.scope for asked in server.asked] == [f"repository:{REPOSITORY}:pull,push"]
        trust = Trust(keys=(PublicKey(load_public_key(tmp_path / "K.pub")),))
        found = find_attached(RegistrySource(registry.host, REPOSITORY, "1", access=access), trust)
        assert found is not None
        assert found.baseline.root == baseline.root

    def test_a_token_that_expires_half_way_is_renewed(self, registry: Registry, server: TokenServer, tmp_path: Path) -> None:
        access = plain(registry.host, server.host, auth_files=(auth_file(tmp_path, **{registry.host: login("ada", "word")}),))
        server.lifetime_s = -120  # past what the registry allows for clocks that differ: good for nothing
        source = RegistrySource(registry.host, REPOSITORY, "1", access=access)
        with pytest.raises(PermanentError, match="denies access"):
            source.root()
        server.lifetime_s = 300
        root = source.root()
        (client,) = source.clients
        client._authorizer._headers[client.scope] = "Bearer expired"
        with source.open(root) as chunks:
            assert b"".join(chunks)
        assert str(ingest(source).key)
        source.close()

    def test_a_refused_name_is_told(self, registry: Registry, server: TokenServer, tmp_path: Path) -> None:
        access = plain(registry.host, server.host, auth_files=(auth_file(tmp_path, **{registry.host: login("eve", "nothing")}),))
        with pytest.raises(PermanentError, match=r"refused: the credentials of .*auth\.json"):
            read(registry, access)

    def test_a_token_server_without_tls_must_be_named(self, registry: Registry, tmp_path: Path) -> None:
        access = plain(registry.host, auth_files=(auth_file(tmp_path, **{registry.host: login("ada", "word")}),))
        with pytest.raises(IntactError, match=r"sends for a token to .* without TLS"):
            read(registry, access)


class TestTls:
    @pytest.fixture(scope="class")
    @staticmethod
    def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
        return issue_server_certificate(tmp_path_factory.mktemp("pki"), "127.0.0.1")

    @pytest.fixture(scope="class")
    @staticmethod
    def registry(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path, Path], image: ImageLayout) -> Iterator[Registry]:
        with Registry(tmp_path_factory.mktemp("tls"), certificate=certificate) as registry:
            image.push(registry.host, f"{REPOSITORY}:1")
            yield registry

    def test_an_authority_of_ones_own_is_trusted_when_named(
        self, registry: Registry, certificate: tuple[Path, Path, Path], image: ImageLayout
    ) -> None:
        assert str(read(registry, plain(ca_files=(certificate[2],))).key) == image.config_digest

    def test_without_it_nothing_is_read(self, registry: Registry, tmp_path: Path) -> None:
        with pytest.raises(TrustError, match="certificate is not to be trusted"):
            read(registry, plain())
        _, _, other = issue_server_certificate(tmp_path, "127.0.0.1")
        with pytest.raises(TrustError, match="certificate is not to be trusted"):
            read(registry, plain(ca_files=(other,)))

    def test_giving_up_the_proof_is_a_choice_for_one_host(self, registry: Registry) -> None:
        read(registry, plain(insecure_tls=frozenset({registry.host})))
        with pytest.raises(TrustError):
            read(registry, plain(insecure_tls=frozenset({"127.0.0.1:1"})))


class TestMirrors:
    @pytest.fixture(scope="class")
    @staticmethod
    def origin(tmp_path_factory: pytest.TempPathFactory, image: ImageLayout) -> Iterator[Registry]:
        with Registry(tmp_path_factory.mktemp("origin")) as registry:
            image.push(registry.host, f"{REPOSITORY}:1")
            yield registry

    @pytest.fixture
    def mirror(self, tmp_path: Path, image: ImageLayout) -> Iterator[Registry]:
        with Registry(tmp_path / "mirror") as registry:
            image.push(registry.host, f"copy/{REPOSITORY}:1")
            yield registry

    def access(self, origin: Registry, *mirrors: str) -> RegistryAccess:
        hosts = [origin.host, *(mirror.partition("/")[0] for mirror in mirrors)]
        return plain(*hosts, mirrors={origin.host: tuple(mirrors)})

    def test_a_mirror_serves_and_is_told(self, origin: Registry, mirror: Registry, image: ImageLayout) -> None:
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=self.access(origin, f"{mirror.host}/copy"))
        baseline = ingest(source, parallel=3)
        assert baseline.source == f"docker://{origin.host}/{REPOSITORY}@{image.manifest_digest}"
        assert source.notes == (f"served by {mirror.host}/copy/{REPOSITORY}",)

    def test_a_mirror_that_fails_falls_over_to_the_next(self, origin: Registry, mirror: Registry, image: ImageLayout) -> None:
        access = self.access(origin, "127.0.0.1:1", f"{mirror.host}/copy")
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=access)
        ingest(source)
        assert any(note.startswith(f"127.0.0.1:1/{REPOSITORY} failed: ") for note in source.notes)
        assert source.notes[-1] == f"served by {mirror.host}/copy/{REPOSITORY}"

    def test_the_registry_itself_is_asked_last(self, origin: Registry, image: ImageLayout) -> None:
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=self.access(origin, "127.0.0.1:1"))
        ingest(source)
        assert source.notes[-1] == f"served by {origin.host}/{REPOSITORY}"

    def test_a_mirror_that_lacks_a_layer_is_completed_by_the_next(self, origin: Registry, mirror: Registry, image: ImageLayout) -> None:
        layer = max(image.directory.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
        mirror.blob(layer.name).unlink()
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=self.access(origin, f"{mirror.host}/copy"))
        assert str(ingest(source).key) == image.config_digest
        assert f"served by {origin.host}/{REPOSITORY}" in source.notes

    def test_a_mirror_that_lies_about_a_manifest_does_not_serve_it(self, origin: Registry, mirror: Registry, image: ImageLayout) -> None:
        stored = mirror.blob(image.manifest_digest)
        stored.write_bytes(stored.read_bytes() + b" ")
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=self.access(origin, f"{mirror.host}/copy"))
        assert str(ingest(source).key) == image.config_digest

    def test_a_mirror_that_lies_about_a_layer_is_caught(self, origin: Registry, mirror: Registry, image: ImageLayout) -> None:
        layer = max(image.directory.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
        stored = mirror.blob(layer.name)
        stored.write_bytes(bytes(reversed(stored.read_bytes())))
        source = RegistrySource(origin.host, REPOSITORY, image.manifest_digest, access=self.access(origin, f"{mirror.host}/copy"))
        with pytest.raises(TrustError, match="has the digest"):
            ingest(source)
