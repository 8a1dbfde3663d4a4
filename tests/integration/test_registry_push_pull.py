"""Baselines attached to images in real registries: pushed, found, verified, pulled without a layer, with and without a referrers API."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.keys.signing import generate_key, load_private_key, load_public_key
from intact.adapters.registry.access import Endpoint, RegistryAccess
from intact.adapters.registry.artifact import decode_blob, encode_index
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.referrers import list_baselines, referrers_tag
from intact.adapters.registry.source import fetch_manifest
from intact.adapters.registry.upload import push_manifest
from intact.baseline.document import encode_document, load_document
from intact.baseline.signing import KeySigner, PublicKey
from intact.baseline.table import seal_table
from intact.baseline.trust import TrustRoot
from intact.model.digest import Digest
from intact.model.layer import Grade
from intact.run.cluster.baselines import ClusterBaselines
from intact.run.storage.keeping import open_own_key, open_store
from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, architecture, write_layout
from lab.registries import ReferrersRegistry, Registry

REPOSITORY = "team/app"
AnyRegistry = Registry | ReferrersRegistry


@pytest.fixture(scope="module", params=["tag", "api"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyRegistry]:
    kind = Registry if request.param == "tag" else ReferrersRegistry
    with kind(tmp_path_factory.mktemp(f"registry-{request.param}")) as registry:
        yield registry


@pytest.fixture(scope="module")
def how(registry: AnyRegistry) -> str:
    return "api" if isinstance(registry, ReferrersRegistry) else "tag"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """With a key K, and another L."""
    for name in "KL":
        generate_key(tmp_path / name)
    return tmp_path


def intact(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "intact", "baseline", *arguments], capture_output=True, text=True, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def make_image(directory: Path, content: bytes, name: str = "layout") -> ImageLayout:
    packed = [pack_entries([layers.file(b"/app", content)], directory), pack_entries([layers.file(b"/more", b"2")], directory, "zstd")]
    return write_layout(directory / name, "docker.io/local/app:1", packed)


@pytest.fixture
def image(registry: AnyRegistry, work: Path, request: pytest.FixtureRequest) -> ImageLayout:
    """An image of this test's own, pushed as team/app:1."""
    image = make_image(work, request.node.name.encode())
    image.push(registry.host, f"{REPOSITORY}:1")
    return image


@pytest.fixture
def client(registry: AnyRegistry) -> Iterator[RepositoryClient]:
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    client = RepositoryClient(access, Endpoint(host=registry.host, repository=REPOSITORY), actions="pull,push")
    yield client
    client.close()


def test_what_was_pushed_is_pulled_and_verified_without_a_layer(registry: AnyRegistry, image: ImageLayout, work: Path, how: str) -> None:
    name = f"docker://{registry.host}/{REPOSITORY}@{image.manifest_digest}"
    plain = ("--plain-http", registry.host)
    built = intact("build", image.source, "-o", "app.baseline", "--key", "K.pem", "--output", "json", cwd=work)
    assert json.loads(built.stdout)["key"] == image.config_digest
    pushed = intact("push", "app.baseline", name, *plain, "--output", "json", cwd=work)
    assert pushed.returncode == 0, pushed.stderr
    told = json.loads(pushed.stdout)
    assert (told["key"], told["found"], told["subject"]) == (image.config_digest, how, name.removeprefix("docker://"))
    if isinstance(registry, Registry):  # a registry that has lost its layers still serves their baseline
        for blob in image.directory.glob("blobs/sha256/*"):
            if blob.stat().st_size and blob.name not in (image.manifest_digest[7:], image.config_digest[7:]):
                registry.blob(blob.name).unlink(missing_ok=True)
    pulled = intact("pull", name, "-o", "pulled", "--trust", "K.pub", *plain, cwd=work)
    assert pulled.returncode == 0, pulled.stderr
    assert (work / "pulled").read_bytes() == (work / "app.baseline").read_bytes()
    assert pulled.stdout.strip() == told["root"]


def test_pushing_twice_attaches_once(registry: AnyRegistry, image: ImageLayout, work: Path, client: RepositoryClient) -> None:
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    intact("build", image.source, "-o", "b", "--key", "K.pem", cwd=work)
    assert intact("push", "b", name, *plain, cwd=work).returncode == 0
    before = list_baselines(client, Digest.parse(image.manifest_digest))
    assert len(before.referrers) == 1
    assert intact("push", "b", name, *plain, cwd=work).returncode == 0
    after = list_baselines(client, Digest.parse(image.manifest_digest))
    assert len(after.referrers) in (1, 2), "the same bytes at the same second are one artifact, else a newer one"


def test_the_newest_that_verifies_is_used_and_the_others_are_told(registry: AnyRegistry, image: ImageLayout, work: Path) -> None:
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    for key in "KL":
        intact("build", image.source, "-o", f"by-{key}", "--key", f"{key}.pem", cwd=work)
        assert intact("push", f"by-{key}", name, *plain, cwd=work).returncode == 0
    pulled = intact("pull", name, "-o", "pulled", "--trust", "K.pub", *plain, cwd=work)
    assert pulled.returncode == 0, pulled.stderr
    assert (work / "pulled").read_bytes() == (work / "by-K").read_bytes()
    both = intact("pull", name, "-o", "pulled", "--trust", "K.pub", "--trust", "L.pub", *plain, cwd=work)
    assert both.returncode == 0, both.stderr
    (work / "pulled").unlink()
    generate_key(work / "M")
    nobody = intact("pull", name, "-o", "pulled", "--trust", "M.pub", *plain, cwd=work)
    assert nobody.returncode == 11
    assert nobody.stderr.count("is not used") == 2
    assert not (work / "pulled").exists()


def test_an_image_without_a_baseline_says_so(registry: AnyRegistry, image: ImageLayout, work: Path) -> None:
    name, plain = f"docker://{registry.host}/{REPOSITORY}@{image.manifest_digest}", ("--plain-http", registry.host)
    done = intact("pull", name, "-o", "pulled", "--trust", "K.pub", *plain, cwd=work)
    assert done.returncode == 10
    assert "no baseline is attached" in done.stderr


def test_a_baseline_of_another_image_or_without_a_signature_is_not_pushed(registry: AnyRegistry, image: ImageLayout, work: Path) -> None:
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    other = make_image(work, b"another", "other")
    intact("build", other.source, "-o", "other.baseline", "--key", "K.pem", cwd=work)
    done = intact("push", "other.baseline", name, *plain, cwd=work)
    assert done.returncode == 10
    assert "is not the image of this baseline" in done.stderr
    intact("build", image.source, "-o", "unsigned", cwd=work)
    done = intact("push", "unsigned", name, *plain, cwd=work)
    assert done.returncode == 10
    assert "is not signed" in done.stderr
    done = intact("push", "other.baseline", name, *plain, "--trust", "L.pub", cwd=work)
    assert done.returncode == 11


def test_of_an_index_the_manifest_with_that_configuration_gets_it(
    registry: AnyRegistry, image: ImageLayout, work: Path, client: RepositoryClient
) -> None:
    other = make_image(work, b"for another machine", "other")
    other.push(registry.host, f"{REPOSITORY}:other")
    entries = []
    for one, machine in ((other, "s390x"), (image, architecture())):
        size = (one.directory / "blobs/sha256" / one.manifest_digest[7:]).stat().st_size
        entries.append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": one.manifest_digest,
                "size": size,
                "platform": {"os": "linux", "architecture": machine},
            }
        )
    index = encode_index(entries)
    push_manifest(client, "multi", "application/vnd.oci.image.index.v1+json", index)
    name, plain = f"docker://{registry.host}/{REPOSITORY}:multi", ("--plain-http", registry.host)
    intact("build", image.source, "-o", "b", "--key", "K.pem", cwd=work)
    pushed = intact("push", "b", name, *plain, "--output", "json", cwd=work)
    assert pushed.returncode == 0, pushed.stderr
    told = json.loads(pushed.stdout)
    assert told["subject"].endswith(image.manifest_digest)
    assert told["platform"] == f"linux/{architecture()}"
    pulled = intact("pull", name, "-o", "pulled", "--trust", "K.pub", *plain, cwd=work)
    assert pulled.returncode == 0, pulled.stderr
    absent = intact("pull", name, "-o", "pulled", "--trust", "K.pub", "--platform", "linux/s390x", *plain, cwd=work)
    assert absent.returncode == 10, absent.stderr


@pytest.mark.parametrize("registry", ["tag"], indirect=True)
def test_the_tag_keeps_what_others_attached(registry: AnyRegistry, image: ImageLayout, work: Path, client: RepositoryClient) -> None:
    foreign = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest_digest,
        "size": (image.directory / "blobs/sha256" / image.manifest_digest[7:]).stat().st_size,
        "artifactType": "application/vnd.example.signature",
        "annotations": {"kept": "as it is"},
    }
    tag = referrers_tag(Digest.parse(image.manifest_digest))
    push_manifest(client, tag, "application/vnd.oci.image.index.v1+json", encode_index([foreign]))
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    intact("build", image.source, "-o", "b", "--key", "K.pem", cwd=work)
    assert intact("push", "b", name, *plain, cwd=work).returncode == 0
    answer = client.read(client.path(f"manifests/{tag}"), accept="application/vnd.oci.image.index.v1+json", limit_bytes=1 << 20)
    entries = json.loads(answer.data)["manifests"]
    assert entries[0] == foreign
    assert len(entries) == 2


def test_the_controller_takes_the_attached_baseline_first(registry: AnyRegistry, image: ImageLayout, work: Path) -> None:
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    intact("build", image.source, "-o", "b", "--key", "K.pem", cwd=work)
    assert intact("push", "b", name, *plain, cwd=work).returncode == 0
    root = TrustRoot.of(PublicKey(load_public_key(work / "K.pub")))
    reference = f"{registry.host}/{REPOSITORY}@{image.manifest_digest}"
    signer = open_own_key(work / "own")
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    store = open_store(work / "store", signer, lambda: root)
    trusting = ClusterBaselines(store, signer, access=access, trust=lambda: root)
    signed = trusting.compute(reference)
    assert signed.grade is Grade.SIGNED
    assert signed.root == load_document((work / "b").read_bytes(), allow_unsigned=True).root
    document = trusting.document(signed.key)
    assert document is not None
    shutil.rmtree(work / "store")
    nobody = ClusterBaselines(open_store(work / "store2", signer), signer, access=access)
    computed = nobody.compute(reference)
    assert computed.grade is Grade.VERIFIED
    assert computed.root == signed.root


def test_an_attached_baseline_that_is_not_the_images_own_is_told_and_not_used(
    registry: AnyRegistry, image: ImageLayout, work: Path
) -> None:
    """Whoever signed it errs, or the key is somebody else's by now."""
    name, plain = f"docker://{registry.host}/{REPOSITORY}:1", ("--plain-http", registry.host)
    reference = f"{registry.host}/{REPOSITORY}@{image.manifest_digest}"
    root = TrustRoot.of(PublicKey(load_public_key(work / "K.pub")))
    signer = open_own_key(work / "own")
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    library = ClusterBaselines(open_store(work / "store", signer, lambda: root), signer, access=access, trust=lambda: root)
    own = library.compute(reference)
    assert (own.grade, library.contradicted()) == (Grade.VERIFIED, {})
    lie = replace(own, layers=tuple(seal_table(layer.diff_id, layer.form, [*layer.scan()][:1]) for layer in own.layers))
    (work / "lie").write_bytes(encode_document(lie, [KeySigner(load_private_key(work / "K.pem"))]))
    assert intact("push", "lie", name, *plain, cwd=work).returncode == 0
    assert library.compute(reference).root == own.root
    assert list(library.contradicted()) == [reference]
    assert PublicKey(load_public_key(work / "K.pub")).id in library.contradicted()[reference]


# -- standing alone ------------------------------------------------------------------------------------------------------


def test_what_is_pushed_alone_is_found_by_the_printed_reference_and_the_same_again(registry: AnyRegistry, work: Path) -> None:
    other, plain = make_image(work, b"in no registry"), ("--plain-http", registry.host)
    intact("build", other.source, "-o", "unsigned", cwd=work)
    told = []
    for name in (f"docker://{registry.host}/team/baselines:web", f"docker://{registry.host}/team/baselines"):
        pushed = intact("push", "unsigned", name, "--alone", *plain, cwd=work)
        assert pushed.returncode == 0, pushed.stderr
        assert other.config_digest in pushed.stderr
        told.append(pushed.stdout.strip())
    assert told[0] == told[1], "the same file is the same artifact, whatever its tag"
    again = intact("push", "unsigned", f"docker://{registry.host}/team/baselines:web", "--alone", *plain, "--output", "json", cwd=work)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert (document["key"], document["reference"], document["tag"]) == (other.config_digest, told[0], "web")
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    name, _, digest = told[0].partition("@")
    client = RepositoryClient(access, Endpoint(host=registry.host, repository=name.partition("/")[2]))
    for reference in (digest, "web", "latest"):
        _, data = fetch_manifest(client, reference, Digest.parse(digest))
        blob = decode_blob(data)
        assert "subject" not in json.loads(data)
        assert b"".join(client.stream_blob(blob.digest, blob.size_bytes)) == (work / "unsigned").read_bytes()
    client.close()


def test_a_baseline_pushed_alone_replaces_no_image(registry: AnyRegistry, image: ImageLayout, work: Path, client: RepositoryClient) -> None:
    plain = ("--plain-http", registry.host)
    intact("build", image.source, "-o", "b", "--key", "K.pem", cwd=work)
    done = intact("push", "b", f"docker://{registry.host}/{REPOSITORY}:1", "--alone", *plain, cwd=work)
    assert (done.returncode, done.stdout) == (10, "")
    assert "is there, and no baseline" in done.stderr
    _, data = fetch_manifest(client, "1", None)
    assert str(Digest.of(data)) == image.manifest_digest
    done = intact("push", "b", f"docker://{registry.host}/{REPOSITORY}@{image.manifest_digest}", "--alone", *plain, cwd=work)
    assert done.returncode == 10
    assert "under a tag" in done.stderr


def test_only_what_a_trusted_key_signed_is_pushed_alone_where_one_is_named(registry: AnyRegistry, work: Path) -> None:
    other, plain = make_image(work, b"signed by L"), ("--plain-http", registry.host)
    intact("build", other.source, "-o", "by-L", "--key", "L.pem", cwd=work)
    name = f"docker://{registry.host}/team/baselines:signed"
    assert intact("push", "by-L", name, "--alone", "--trust", "K.pub", *plain, cwd=work).returncode == 11
    assert intact("push", "by-L", name, "--alone", "--trust", "L.pub", *plain, cwd=work).returncode == 0
    (work / "by-L").write_bytes((work / "by-L").read_bytes()[:-1] + b"\xff")
    assert intact("push", "by-L", name, "--alone", *plain, cwd=work).returncode == 10
