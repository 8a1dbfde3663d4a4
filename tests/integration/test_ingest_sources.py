"""One image, from every source that can carry it, is the same baseline: same key, byte-identical tables, same root; and every name that a
source gives it leads to that baseline."""

import json
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from intact.adapters.keys.signing import generate_key, load_private_key
from intact.adapters.layout.names import DirectoryName, open_image, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.baselines import BaselineDirectory
from intact.baseline.signing import KeySigner
from intact.baseline.store import BaselineStore
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.ingest.ports import BlobSource
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Form
from lab import layers
from lab.images import busybox_image, web_image
from lab.oci import OCI, ImageLayout, architecture, copy_image
from lab.podman import Podman
from lab.registries import Registry
from lab.runtime import Runtime

REPOSITORY = "docker.io/local/sources"
NAME = f"{REPOSITORY}:1"
ELSEWHERE = {"amd64": "arm64", "arm64": "amd64"}


def open_source(name: str, **more: object) -> BlobSource:
    source = open_image(parse_image_name(name), **more)  # type: ignore[arg-type]
    assert not isinstance(source, DirectoryName)
    return source


def build(name: str, platform: str | None = None, **more: object) -> Baseline:
    return ingest(open_source(name, **more), platform=platform, seal=seal_table)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module", params=["overlay", "vfs"])
def podman(request: pytest.FixtureRequest, root: None) -> Iterator[Podman]:
    with Podman(request.param) as podman:
        yield podman


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    new = layers.file(b"/etc/new\n\xff", b"1", xattrs={"user.k": b"\xfe"})
    upper = [[layers.whiteout(b"/etc/group"), layers.opaque(b"/root"), new, layers.hard_link(b"/etc/link", new)]]
    return busybox_image(tmp_path_factory.mktemp("image"), NAME, upper_layers=upper)


@pytest.fixture(scope="module", params=["generated", "Debian"])
def image(request: pytest.FixtureRequest, generated: ImageLayout, tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    return generated if request.param == "generated" else web_image(tmp_path_factory.mktemp("image"), NAME, "1")


def check_same(found: Baseline, image: ImageLayout) -> None:
    expected = build(image.source)
    assert (found.key, found.root, found.platform) == (expected.key, expected.root, expected.platform)
    assert [layer.form for layer in found.layers] == [Form.PLAIN, Form.STACKED]
    assert [layer.data for layer in found.layers] == [layer.data for layer in expected.layers]  # type: ignore[attr-defined]


def check_names(found: Baseline, expected: set[str], directory: Path) -> None:
    """The baseline goes by these names, and a store finds it by each."""
    assert set(found.aliases) == expected
    stem = directory / "key"
    generate_key(stem)
    store = BaselineStore(BaselineDirectory(directory / "store"), signer=KeySigner(load_private_key(stem.with_suffix(".pem"))))
    store.put(found)
    for name in (str(found.key), *expected):
        stored = store.get(name, found.platform)
        assert stored is not None, name
        assert (stored.key, stored.root) == (found.key, found.root)


def named(repository: str, *digests: str, tag: str = "1") -> set[str]:
    return {f"{repository}:{tag}", *digests, *(f"{repository}@{digest}" for digest in digests)}


def test_a_registry_is_the_layout(image: ImageLayout, registry: Registry, tmp_path: Path) -> None:
    image.push(registry.host, "local/sources:1")
    found = build(f"docker://{registry.host}/local/sources:1", access=RegistryAccess(plain_http=frozenset({registry.host})))
    check_same(found, image)
    check_names(found, named(f"{registry.host}/local/sources", image.manifest_digest), tmp_path)


@pytest.mark.parametrize("how", ["skopeo", "tar", "tar with ./"])
def test_oci_archive_is_the_layout(image: ImageLayout, tmp_path: Path, how: str) -> None:
    archive = tmp_path / "a.tar"
    if how == "skopeo":
        copy_image(image.source, f"oci-archive:{archive}:{NAME}")
    else:
        members = ["."] if how == "tar with ./" else ["index.json", "oci-layout", "blobs"]
        subprocess.run(["tar", "-C", str(image.directory), "-cf", str(archive), *members], check=True)
    found = build(f"oci-archive:{archive}")
    check_same(found, image)
    check_names(found, named(REPOSITORY, image.manifest_digest), tmp_path)
    tag = NAME if how == "skopeo" else "1"
    assert build(f"oci-archive:{archive}:{tag}").root == found.root
    with pytest.raises(InputError, match="has no image 'other'"):
        build(f"oci-archive:{archive}:other")


def test_docker_archive_is_the_layout_and_knows_no_manifest(image: ImageLayout, tmp_path: Path) -> None:
    copy_image(image.source, f"docker-archive:{tmp_path}/a.tar:{NAME}", "--preserve-digests=false")
    found = build(f"docker-archive:{tmp_path}/a.tar")
    check_same(found, image)
    check_names(found, {NAME}, tmp_path)
    with pytest.raises(InputError, match="has no image"):
        build(f"docker-archive:{tmp_path}/a.tar:other:1")


@pytest.mark.root
def test_containerds_content_store_is_the_layout(runtime: Runtime, image: ImageLayout, tmp_path: Path) -> None:
    runtime.import_image(image)
    try:
        found = build(f"containerd:{NAME}", containerd=str(runtime.address))
    finally:
        runtime.ctr("images", "remove", "--sync", NAME)
    check_same(found, image)
    check_names(found, named(REPOSITORY, image.manifest_digest), tmp_path)


@pytest.mark.root
def test_podmans_store_is_the_layout(podman: Podman, image: ImageLayout, tmp_path: Path) -> None:
    podman.copy_in(image)
    found = build(podman.source(NAME))
    check_same(found, image)
    check_names(found, named(REPOSITORY, image.manifest_digest), tmp_path)
    digits = image.config_digest.removeprefix("sha256:")
    others = ("local/sources:1", f"@{digits}", f"@{digits[:7]}", digits, f"{REPOSITORY}@{image.manifest_digest}", image.manifest_digest)
    manifest = open_source(podman.source(NAME)).root()
    assert {open_source(podman.source(name)).root() for name in others} == {manifest}
    assert open_source(f"containers-storage:[{podman.graphroot}]{NAME}").root() == manifest
    podman.remove(NAME)


@pytest.mark.root
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_podman_loads_and_saves_is_the_layout(podman: Podman, generated: ImageLayout, tmp_path: Path, form: str) -> None:
    copy_image(generated.source, f"{form}:{tmp_path}/in.tar:{NAME}", "--preserve-digests=false")
    podman.podman("load", "--input", str(tmp_path / "in.tar"))
    check_same(build(podman.source(NAME)), generated)
    podman.podman("save", f"--format={form}", f"--output={tmp_path}/out.tar", NAME)
    check_same(build(f"{form}:{tmp_path}/out.tar"), generated)
    podman.remove(NAME)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_an_altered_or_cut_archive_is_refused(generated: ImageLayout, tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.tar"
    copy_image(generated.source, f"{form}:{path}", "--preserve-digests=false")
    original = path.read_bytes()
    for part in range(1, 8):
        at = len(original) * part // 8 - 5000
        path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        with pytest.raises((InputError, TrustError)):
            build(f"{form}:{path}")
    path.write_bytes(original[: len(original) // 2])
    with pytest.raises((InputError, TrustError)):
        build(f"{form}:{path}")


# -- one name, several platforms -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    """A layout of an index: this machine's image, and another one's."""
    directory = tmp_path_factory.mktemp("mixed")
    image = busybox_image(directory, NAME)
    blobs = directory / "blobs/sha256"

    def store(document: object, media_type: str) -> dict[str, object]:
        data = json.dumps(document).encode()
        (blobs / sha256(data).hexdigest()).write_bytes(data)
        return {"mediaType": OCI + media_type, "digest": f"sha256:{sha256(data).hexdigest()}", "size": len(data)}

    def read(digest: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
        return found

    elsewhere = ELSEWHERE[architecture()]
    config = store({**read(image.config_digest), "architecture": elsewhere}, "config.v1+json")
    other = store({**read(image.manifest_digest), "config": config}, "manifest.v1+json")
    index = json.loads((directory / "index.json").read_text())
    (here,) = index["manifests"]
    annotations = here.pop("annotations")
    manifests = [here, {**other, "platform": {"os": "linux", "architecture": elsewhere}}]
    described = store({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests}, "index.v1+json")
    (directory / "index.json").write_text(json.dumps({**index, "manifests": [{**described, "annotations": annotations}]}))
    return ImageLayout(directory=directory, name=NAME, manifest_digest=str(described["digest"]), config_digest=image.config_digest)


def test_a_node_of_each_platform_has_its_own_key_and_no_name_leads_to_the_others(mixed: ImageLayout, tmp_path: Path) -> None:
    here, there = f"linux/{architecture()}", f"linux/{ELSEWHERE[architecture()]}"
    ours, theirs = build(mixed.source, here), build(mixed.source, there)
    assert ours.key != theirs.key
    assert ours.root != theirs.root
    assert [layer.root for layer in ours.layers] == [layer.root for layer in theirs.layers]
    assert build(mixed.source).key == ours.key, "this machine's, where nobody says"
    assert {NAME, mixed.manifest_digest, f"{REPOSITORY}@{mixed.manifest_digest}"} == {*ours.aliases} & {*theirs.aliases}
    generate_key(tmp_path / "key")
    store = BaselineStore(BaselineDirectory(tmp_path / "store"), signer=KeySigner(load_private_key(tmp_path / "key.pem")))
    for baseline in (ours, theirs, ours):
        store.put(baseline)
        for name in ours.aliases:
            found = store.get(name, here)
            assert found is not None
            assert found.key == ours.key
    for name in theirs.aliases:
        found = store.get(name, there)
        assert found is not None
        assert found.key == theirs.key


@pytest.mark.root
def test_every_source_of_an_index_gives_its_digest_and_its_manifests(
    mixed: ImageLayout, registry: Registry, runtime: Runtime, podman: Podman, tmp_path: Path
) -> None:
    expected = build(mixed.source)
    copy_image(mixed.source, f"docker://{registry.host}/local/mixed:1", "--all")
    copy_image(mixed.source, f"oci-archive:{tmp_path}/a.tar:{NAME}", "--all")
    podman.podman("pull", "--quiet", "--tls-verify=false", f"{registry.host}/local/mixed:1")
    runtime.import_image(mixed)
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    digests = {name for name in expected.aliases if name.startswith("sha256:")}
    assert len(digests) == 2
    try:
        for name in (
            f"docker://{registry.host}/local/mixed:1",
            f"docker://{registry.host}/local/mixed@{mixed.manifest_digest}",
            f"oci-archive:{tmp_path}/a.tar",
            f"containerd:{NAME}",
            podman.source(f"{registry.host}/local/mixed:1"),
            podman.source(f"{registry.host}/local/mixed@{mixed.manifest_digest}"),
        ):
            found = build(name, access=access, containerd=str(runtime.address))
            assert (found.key, found.root) == (expected.key, expected.root), name
            assert digests <= {*found.aliases}, name
            repositories = {alias.partition("@")[0] for alias in found.aliases if "@" in alias}
            assert {f"{repository}@{digest}" for repository in repositories for digest in digests} <= {*found.aliases}, name
            assert repositories, name
    finally:
        runtime.ctr("images", "remove", "--sync", NAME)
        podman.remove(f"{registry.host}/local/mixed:1")
