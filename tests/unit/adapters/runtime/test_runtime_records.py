"""What is made of containerd's records: overlays, identities, image chains, events."""

import json
from collections.abc import Sequence

import pytest
from google.protobuf import any_pb2

from intact.adapters.runtime import containerd_pb2 as pb
from intact.adapters.runtime.containerd import parse_overlay, split_lowers
from intact.adapters.runtime.events import concerns_container
from intact.adapters.runtime.identity import (
    CONTAINER_EXTENSION,
    SANDBOX_EXTENSION,
    qualify_id,
    read_name,
    read_pinned_image,
    read_pod,
)
from intact.adapters.runtime.images import chain_layers, choose_manifest
from intact.model.container import Mounted, Pod
from intact.model.digest import Digest
from intact.model.errors import InputError

RANDOM = "5f" * 32


def overlay(*options: str) -> list[pb.Mount]:
    return [pb.Mount(type="overlay", source="overlay", options=options)]


def test_an_overlay_has_its_directories_and_the_options_that_change_what_is_seen() -> None:
    declared = parse_overlay(overlay("index=off", "userxattr", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"))
    assert declared == Mounted(upper=b"/s/3/fs", lowers=(b"/s/2/fs", b"/s/1/fs"), device=0, options=("index=off", "userxattr"))


@pytest.mark.parametrize(
    ("mounts", "says"),
    [
        ([], "nothing"),
        ([pb.Mount(type="bind", source="/s/1/fs", options=["rw", "rbind"])], "bind"),
        (overlay("upperdir=/u", "lowerdir=/l") * 2, "overlay, overlay"),
        ([pb.Mount(type="fuse3.fuse-overlayfs")], "fuse-overlayfs"),
        (overlay("lowerdir=/l:/m"), "read-only"),
        (overlay("upperdir=relative", "lowerdir=/l"), "absolute"),
        (overlay("upperdir=/u", "lowerdir=/l:relative"), "absolute"),
        (overlay("upperdir=/u", "lowerdir=/l:"), "absolute"),
        (overlay("upperdir=/u"), "absolute"),
    ],
)
def test_what_is_not_one_overlay_says_why(mounts: Sequence[pb.Mount], says: str) -> None:
    declared = parse_overlay(mounts)
    assert isinstance(declared, str) and says in declared


def test_lower_directories_may_hold_colons() -> None:
    assert split_lowers(r"/a\:b:/c\\d") == (b"/a:b", b"/c\\d")


def record(extension: str = "", document: object = None, **labels: str) -> pb.Container:
    made = pb.Container(labels={name.replace("__", "."): value for name, value in labels.items()})
    if extension:
        made.extensions[extension].CopyFrom(any_pb2.Any(value=json.dumps(document).encode()))
    return made


POD = {"io__kubernetes__pod__namespace": "shop", "io__kubernetes__pod__name": "web-0", "io__kubernetes__pod__uid": "a-b-1"}


def test_a_pod_is_what_cri_says_and_not_what_labels_say() -> None:
    assert read_pod(record(CONTAINER_EXTENSION, {}, **POD)) == Pod(namespace="shop", name="web-0", uid="a-b-1")
    assert read_pod(record(SANDBOX_EXTENSION, {}, **POD)) is not None
    assert read_pod(record(**POD)) is None


@pytest.mark.parametrize("part", ["namespace", "name", "uid"])
@pytest.mark.parametrize("value", ["", "../x", "a\nb", "x" * 300, "\u202egpj"])
def test_a_pod_with_a_name_that_kubernetes_refuses_is_none(part: str, value: str) -> None:
    assert read_pod(record(CONTAINER_EXTENSION, {}, **{**POD, f"io__kubernetes__pod__{part}": value})) is None


def test_names() -> None:
    name = {"io__kubernetes__container__name": "nginx"}
    assert read_name(record(CONTAINER_EXTENSION, {}, **name), RANDOM) == "nginx"
    assert read_name(record(SANDBOX_EXTENSION, {}, **name), RANDOM) == "POD"
    assert read_name(record(**name), "default/web") == "default/web", "an image's label is not a name"
    assert read_name(record(CONTAINER_EXTENSION, {}, io__kubernetes__container__name="POD"), RANDOM) == RANDOM


def test_ids_are_unique_across_namespaces() -> None:
    assert qualify_id("k8s.io", RANDOM) == RANDOM
    assert qualify_id("default", "web") == "web"
    assert qualify_id("k8s.io", "web") == "k8s.io/web"
    assert "\x1b" not in qualify_id("default", "\x1b[2J")


def test_the_image_cri_pinned() -> None:
    digest = "sha256:" + "ab" * 32
    assert read_pinned_image(record(CONTAINER_EXTENSION, {"Metadata": {"ImageRef": digest}})) == Digest.parse(digest)
    assert read_pinned_image(record(SANDBOX_EXTENSION, {"Metadata": {"ImageRef": digest}})) is None
    others: tuple[object, ...] = (None, [], {}, {"Metadata": 1}, {"Metadata": {"ImageRef": "web:1"}}, {"Metadata": {"ImageRef": None}})
    for document in others:
        assert read_pinned_image(record(CONTAINER_EXTENSION, document)) is None


def test_chain_ids_are_the_specifications() -> None:
    """image-spec config.md#layer-chainid: ChainID(A) = A; ChainID(A|B) = sha256("A B"); the hashes here are coreutils' sha256sum's."""
    first, second = Digest.of(b"1"), Digest.of(b"2")
    assert chain_layers([]) == ""
    assert chain_layers([first]) == str(first)
    assert chain_layers([first, second]) == CHAIN_OF_1_2
    assert chain_layers([first, second, first]) == "sha256:" + Digest.of(f"{CHAIN_OF_1_2} {first}".encode()).hex


CHAIN_OF_1_2 = "sha256:53e60bc18399d11a8953c224619cd6147f2f8ef1233acf2818575ba1a17f7ca2"


def manifest(number: int, **platform: str) -> dict[str, object]:
    return {"digest": f"sha256:{number:064x}", **({"platform": platform} if platform else {})}


INDEX = Digest.of(b"index")


def test_an_index_gives_this_machines_manifest() -> None:
    index = {
        "manifests": [
            manifest(1, os="windows", architecture="amd64"),
            manifest(2, os="unknown", architecture="unknown"),
            manifest(3, os="linux", architecture="arm", variant="v6"),
            manifest(4, os="linux", architecture="arm", variant="v7"),
            manifest(5, os="linux", architecture="amd64"),
            manifest(6, os="linux", architecture="arm64", variant="v8"),
        ]
    }
    chosen = {machine: choose_manifest(index, INDEX, machine).value[-1] for machine in ("x86_64", "armv7l", "aarch64")}
    assert chosen == {"x86_64": 5, "armv7l": 4, "aarch64": 6}
    with pytest.raises(InputError, match="linux/s390x"):
        choose_manifest(index, INDEX, "s390x")


@pytest.mark.parametrize("manifests", [None, {}, [], [1, None], [{"platform": {"os": "linux"}}], [{"digest": "sha256:short"}], "text"])
def test_an_index_that_is_none_is_refused(manifests: object) -> None:
    with pytest.raises(InputError):
        choose_manifest({"manifests": manifests}, INDEX)


def envelope(topic: str, value: bytes) -> pb.Envelope:
    return pb.Envelope(topic=topic, event=any_pb2.Any(value=value))


def test_only_a_containers_first_process_concerns_it() -> None:
    assert concerns_container(envelope("/tasks/start", b""))
    assert concerns_container(envelope("/tasks/exit", pb.TaskExit(container_id="a", id="a").SerializeToString()))
    assert not concerns_container(envelope("/tasks/exit", pb.TaskExit(container_id="a", id="probe1").SerializeToString()))
    assert concerns_container(envelope("/tasks/delete", pb.TaskDelete(container_id="a").SerializeToString()))
    assert not concerns_container(envelope("/tasks/delete", pb.TaskDelete(container_id="a", id="probe1").SerializeToString()))
    assert concerns_container(envelope("/tasks/exit", b"\xff")), "what cannot be read may be one"
