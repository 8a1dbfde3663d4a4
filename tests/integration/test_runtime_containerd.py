"""Running containers as a real containerd and runc have them."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from google.protobuf import any_pb2, field_mask_pb2

from intact.adapters.linux.mounts import confirm_overlay, read_mounts
from intact.adapters.runtime import containerd_pb2 as pb
from intact.adapters.runtime.client import Client
from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.discover import find_container
from intact.model.container import IdMap, Mounted, Pod, Running
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError
from lab import images, layers, oci
from lab.runtime import Runtime

NAME = "docker.io/local/listed:1"
SPACE = "listed"
DEVICE = 77


def confirm(declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str:
    """The host's mount table is somebody else's duty: here it says yes to everything."""
    return dataclasses.replace(declared, device=DEVICE)


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    """An image of two layers, known in two namespaces."""
    directory = tmp_path_factory.mktemp("listed")
    image = images.busybox_image(directory, NAME, upper_layers=[[layers.file(b"/etc/second", b"layer\n")]])
    runtime.import_image(image, namespace=SPACE)
    runtime.import_image(image)
    return image


@contextlib.contextmanager
def running(runtime: Runtime, id: str, *, namespace: str = SPACE, image: str = NAME, options: Sequence[str] = ()) -> Iterator[int]:
    pid = runtime.run(image, id, namespace=namespace, options=options)
    try:
        yield pid
    finally:
        runtime.stop(id, namespace=namespace)


@contextlib.contextmanager
def listing(runtime: Runtime, namespaces: Sequence[str] | None = (SPACE,)) -> Iterator[Containerd]:
    containerd = Containerd(str(runtime.address), confirm, namespaces)
    try:
        yield containerd
    finally:
        containerd.close()


def only(containerd: Containerd) -> Running:
    (one,) = containerd.list_running("node1")
    return one


def only_named(containerd: Containerd, id: str) -> Running:
    return find_container(containerd.list_running("node1"), id)


def test_a_container_is_listed_as_it_runs(runtime: Runtime, image: oci.ImageLayout) -> None:
    before = time.time()
    with running(runtime, "web") as pid, listing(runtime) as containerd:
        one = only(containerd)
        assert one.container.id == "listed/web"
        assert one.container.image == NAME
        assert str(one.container.image_key) == image.config_digest
        assert one.container.node == "node1"
        assert one.container.pod is None
        assert before - 1 <= one.container.started_at <= time.time() + 1
        assert one.init_pid == pid
        assert one.mounted is not None
        upper = runtime.upper("web", namespace=SPACE)
        assert one.mounted.upper == bytes(upper)
        assert one.mounted.device == DEVICE
        assert one.mounted.uid_map == one.mounted.gid_map == ()
        assert b"/proc" in one.mounted.targets
        assert len(one.mounted.lowers) == 2, "top first"
        assert (Path(one.mounted.lowers[0].decode()) / "etc/second").exists()
        assert (Path(one.mounted.lowers[1].decode()) / "bin/busybox").exists()
        assert one.unobservable == one.unkeyed == ""
        assert containerd.list_running("node1") == (one,), "the same again, from memory"


def test_the_hosts_mount_table_bears_it_out(runtime: Runtime, image: oci.ImageLayout) -> None:
    def ask_host(declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str:
        device = os.stat(f"/proc/{init_pid}/root/").st_dev
        answer = confirm_overlay(declared, read_mounts(), root_device=device)
        return answer if isinstance(answer, Mounted) else answer.reason

    with running(runtime, "borne"):
        containerd = Containerd(str(runtime.address), ask_host, [SPACE])
        one = only(containerd)
        containerd.close()
        assert one.mounted is not None, one.unobservable
        assert one.mounted.device == os.stat(runtime.rootfs("borne", namespace=SPACE)).st_dev


def test_containers_of_every_namespace_are_listed(runtime: Runtime, image: oci.ImageLayout) -> None:
    with running(runtime, "same"), running(runtime, "same", namespace="default"), listing(runtime, None) as containerd:
        found = {one.container.id: one for one in containerd.list_running("n")}
        assert {"same", "listed/same"} <= found.keys(), "one name in two namespaces is two containers"
        assert found["same"].mounted != found["listed/same"].mounted
        assert find_container(tuple(found.values()), "listed/same") is found["listed/same"]


def test_many_containers_come_and_go(runtime: Runtime, image: oci.ImageLayout) -> None:
    with contextlib.ExitStack() as stack, listing(runtime) as containerd:
        for number in range(12):
            stack.enter_context(running(runtime, f"many{number}"))
        assert len(containerd.list_running("n")) == 12
        runtime.ctr("tasks", "kill", "--signal", "SIGKILL", "many3", namespace=SPACE)
        deadline = time.monotonic() + 10
        while len(containerd.list_running("n")) != 11:
            assert time.monotonic() < deadline, "an ended container stays listed"
            time.sleep(0.05)
        assert "listed/many3" not in {one.container.id for one in containerd.list_running("n")}
    with listing(runtime) as containerd:
        assert containerd.list_running("n") == ()


def test_a_container_started_again_under_its_id_is_read_again(runtime: Runtime, image: oci.ImageLayout) -> None:
    with listing(runtime) as containerd:
        with running(runtime, "again") as first:
            assert only(containerd).init_pid == first
        with running(runtime, "again") as second:
            one = only(containerd)
            assert one.init_pid == second
            assert one.mounted is not None
            assert one.mounted.upper == bytes(runtime.upper("again", namespace=SPACE))


def test_paused_is_listed_and_created_is_not(runtime: Runtime, image: oci.ImageLayout) -> None:
    runtime.ctr("containers", "create", "--snapshotter", "overlayfs", NAME, "idle", namespace=SPACE)
    try:
        with running(runtime, "asleep"), listing(runtime) as containerd:
            runtime.ctr("tasks", "pause", "asleep", namespace=SPACE)
            try:
                assert only(containerd).container.id == "listed/asleep"
            finally:
                runtime.ctr("tasks", "resume", "asleep", namespace=SPACE)
    finally:
        runtime.ctr("containers", "delete", "idle", namespace=SPACE)


class Interfered(Client):
    """A client between whose calls something happens to the container."""

    def __init__(self, runtime: Runtime, id: str, before: str) -> None:
        super().__init__(str(runtime.address))
        self._runtime, self._id, self._before = runtime, id, before

    def container(self, namespace: str, id: str) -> pb.Container:
        self._interfere("container")
        return super().container(namespace, id)

    def mounts(self, namespace: str, snapshotter: str, key: str) -> tuple[pb.Mount, ...]:
        self._interfere("mounts")
        return super().mounts(namespace, snapshotter, key)

    def snapshot_parent(self, namespace: str, snapshotter: str, key: str) -> str:
        self._interfere("snapshot_parent")
        return super().snapshot_parent(namespace, snapshotter, key)

    def _interfere(self, call: str) -> None:
        if call == self._before:
            self._before = ""
            self._runtime.stop(self._id, namespace=SPACE)


@pytest.mark.parametrize("call", ["container", "mounts", "snapshot_parent"])
def test_a_container_gone_between_two_calls_is_left_out(runtime: Runtime, image: oci.ImageLayout, call: str) -> None:
    runtime.run(NAME, "fleeting", namespace=SPACE)
    with running(runtime, "staying"), listing(runtime) as containerd:
        containerd.client = Interfered(runtime, "fleeting", call)
        containerd.images._client = containerd.client
        assert [one.container.id for one in containerd.list_running("n")] == ["listed/staying"]
        containerd.client.close()


def test_huge_and_hostile_labels_change_nothing(runtime: Runtime, image: oci.ImageLayout) -> None:
    options = [word for number in range(200) for word in ("--label", f"huge{number}={'x' * 4000}")]
    with running(runtime, "labelled", options=options), listing(runtime) as containerd:
        one = only(containerd)
        assert str(one.container.image_key) == image.config_digest
        assert len(repr(one.container)) < 1000


def test_an_image_cannot_claim_to_be_a_pod(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    claims = {"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.uid": "1-2-3"}
    claims |= {"io.kubernetes.container.name": "web", "io.cri-containerd.kind": "container"}
    packed = images.pack_entries(images.busybox_entries(), tmp_path)
    name = "docker.io/local/claims:1"
    runtime.import_image(oci.write_layout(tmp_path, name, [packed], command=("sleep", "1d"), labels=claims), namespace=SPACE)
    with running(runtime, "liar", image=name), listing(runtime) as containerd:
        assert containerd.client.container(SPACE, "liar").labels["io.kubernetes.pod.name"] == "web-0", "the claim did arrive"
        one = only(containerd)
        assert one.container.pod is None
        assert one.container.name == "listed/liar"


def write_extension(containerd: Containerd, id: str, extension: str, document: bytes, labels: dict[str, str]) -> None:
    """Leaves on a record what CRI leaves there (containers/v1 UpdateContainerRequest: a GetContainerResponse and a field mask)."""
    record = containerd.client.container(SPACE, id)
    record.extensions[extension].CopyFrom(any_pb2.Any(type_url="github.com/containerd/cri/metadata", value=document))
    record.labels.update(labels)
    mask = field_mask_pb2.FieldMask(paths=["extensions", "labels"]).SerializeToString()
    body = pb.GetContainerResponse(container=record).SerializeToString() + b"\x12" + bytes([len(mask)]) + mask
    method = "/containerd.services.containers.v1.Containers/Update"
    metadata = (("containerd-namespace", SPACE),)
    containerd.client.channel.call(method, pb.GetContainerResponse.FromString(body), pb.GetContainerResponse, metadata)


POD_LABELS = {
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.name": "web-5d9c-x2x",
    "io.kubernetes.pod.uid": "0b5c2a1e-8f0f-4a57-9d1c-1f2e3d4c5b6a",
}


def test_pods_and_sandboxes_are_known_by_what_cri_notes(runtime: Runtime, image: oci.ImageLayout) -> None:
    pod = Pod(namespace="shop", name="web-5d9c-x2x", uid=POD_LABELS["io.kubernetes.pod.uid"])
    with running(runtime, "one"), running(runtime, "two"), listing(runtime) as containerd:
        labels = {**POD_LABELS, "io.kubernetes.container.name": "nginx"}
        write_extension(containerd, "one", "io.cri-containerd.container.metadata", b'{"Version": "v1", "Metadata": {}}', labels)
        write_extension(containerd, "two", "io.cri-containerd.sandbox.metadata", b"{}", POD_LABELS)
        one, two = containerd.list_running("n")
        assert (one.container.pod, one.container.name) == (pod, "nginx")
        assert (two.container.pod, two.container.name) == (pod, "POD")
        assert find_container((one, two), "web-5d9c-x2x") is one
        assert find_container((one, two), "shop/web-5d9c-x2x/POD") is two


def test_a_name_that_moved_is_no_key_unless_cri_pinned_the_image(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    name = "docker.io/local/moves:1"
    first = images.busybox_image(tmp_path / "1", name, files={b"/v": b"1"})
    second = images.busybox_image(tmp_path / "2", name, files={b"/v": b"2"})
    runtime.import_image(first, namespace=SPACE)
    with running(runtime, "old", image=name), listing(runtime) as containerd:
        runtime.import_image(second, namespace=SPACE)
        one = only(containerd)
        assert one.container.image_key is None
        assert "no longer" in one.unkeyed
        assert one.mounted is not None
        pinned = f'{{"Metadata": {{"ImageRef": "{first.config_digest}"}}}}'.encode()
        write_extension(containerd, "old", "io.cri-containerd.container.metadata", pinned, POD_LABELS)
        one = only(containerd)
        assert (str(one.container.image_key), one.unkeyed) == (first.config_digest, "")


def test_a_pinned_image_of_other_layers_is_no_key(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    other = images.busybox_image(tmp_path, "docker.io/local/other:1")
    runtime.import_image(other, namespace=SPACE)
    with running(runtime, "pinned"), listing(runtime) as containerd:
        pinned = f'{{"Metadata": {{"ImageRef": "{other.config_digest}"}}}}'.encode()
        write_extension(containerd, "pinned", "io.cri-containerd.container.metadata", pinned, POD_LABELS)
        assert only(containerd).container.image_key is None


def test_an_image_that_was_removed_is_named_as_the_reason(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    name = "docker.io/local/removed:1"
    runtime.import_image(images.busybox_image(tmp_path, name), namespace=SPACE)
    with running(runtime, "orphan", image=name), listing(runtime) as containerd:
        runtime.ctr("images", "remove", "--sync", name, namespace=SPACE)
        one = only(containerd)
        assert one.container.image_key is None
        assert name in one.unkeyed and "not found" in one.unkeyed
        assert one.mounted is not None, "the files can be seen all the same"


def test_another_snapshotter_cannot_be_seen_and_says_so(runtime: Runtime, image: oci.ImageLayout) -> None:
    with running(runtime, "native", options=["--snapshotter", "native"]), listing(runtime) as containerd:
        one = only(containerd)
        assert one.mounted is None
        assert one.unobservable == "snapshotter native"
        assert str(one.container.image_key) == image.config_digest, "which image it is can be known all the same"


class OtherRuntime(Client):
    """A client that sees the records of a runtime whose files live in a virtual machine."""

    def container(self, namespace: str, id: str) -> pb.Container:
        record = super().container(namespace, id)
        record.runtime.name = "io.containerd.kata.v2"
        return record


def test_another_runtime_cannot_be_seen_and_says_so(runtime: Runtime, image: oci.ImageLayout) -> None:
    with running(runtime, "kata"), listing(runtime) as containerd:
        containerd.client = OtherRuntime(str(runtime.address))
        one = only(containerd)
        assert (one.mounted, one.unobservable) == (None, "runtime io.containerd.kata.v2")
        containerd.client.close()


class Troubled(Client):
    """A client that has trouble with one container."""

    trouble: IntactError

    def container(self, namespace: str, id: str) -> pb.Container:
        if id == "troubled":
            raise self.trouble
        return super().container(namespace, id)


@pytest.mark.parametrize("trouble", [PermanentError("too large"), TemporaryError("timed out"), InputError("refused")])
def test_one_unreadable_container_hides_no_other(runtime: Runtime, image: oci.ImageLayout, trouble: IntactError) -> None:
    with running(runtime, "troubled") as pid, running(runtime, "well"), listing(runtime) as containerd:
        client = Troubled(str(runtime.address))
        client.trouble = trouble
        containerd.client = client
        troubled, well = containerd.list_running("n")
        assert (troubled.container.id, troubled.init_pid, troubled.mounted) == ("listed/troubled", pid, None)
        assert troubled.unobservable == troubled.unkeyed == str(trouble)
        assert well.mounted is not None
        client.close()


def test_a_user_namespace_comes_with_its_maps(runtime: Runtime, image: oci.ImageLayout) -> None:
    maps = ["--uidmap", "0:700000:65536", "--gidmap", "0:800000:65536"]
    with running(runtime, "mapped", options=maps), listing(runtime) as containerd:
        one = only(containerd)
        assert one.mounted is not None
        assert one.mounted.uid_map == (IdMap(inside=0, outside=700000, count=65536),)
        assert one.mounted.gid_map == (IdMap(inside=0, outside=800000, count=65536),)
        assert str(one.container.image_key) == image.config_digest, "its layers are a copy with other owners, of the same image"


def test_what_the_host_does_not_confirm_cannot_be_seen(runtime: Runtime, image: oci.ImageLayout) -> None:
    def refuse(declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str:
        assert (id, namespace) == ("doubted", SPACE)
        return "not in the host's mount table"

    with running(runtime, "doubted"):
        containerd = Containerd(str(runtime.address), refuse, [SPACE])
        one = only(containerd)
        assert (one.mounted, one.unobservable) == (None, "not in the host's mount table")
        containerd.close()


def test_a_container_whose_shim_hangs_stays_listed(runtime: Runtime, image: oci.ImageLayout) -> None:
    with running(runtime, "hanging") as pid, running(runtime, "well"), listing(runtime) as containerd:
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(shim, signal.SIGSTOP)
        try:
            hanging, well = containerd.list_running("n")
        finally:
            os.kill(shim, signal.SIGCONT)
        assert (hanging.container.id, hanging.mounted) == ("listed/hanging", None)
        assert "state" in hanging.unobservable
        assert well.mounted is not None
        assert only_named(containerd, "listed/hanging").mounted is not None, "and is seen again when it answers"


def test_no_runtime_is_temporary_and_says_where(runtime: Runtime, tmp_path: Path) -> None:
    containerd = Containerd(str(tmp_path / "nobody.sock"), confirm)
    with pytest.raises(TemporaryError, match=r"nobody\.sock"):
        containerd.list_running("n")


def test_the_index_of_a_platform_leads_to_its_config(runtime: Runtime, image: oci.ImageLayout) -> None:
    """What the runtime calls the image is a manifest here; an index leads to the same config (unit tests choose among platforms)."""
    with listing(runtime) as containerd:
        identity = containerd.images.identify(SPACE, NAME)
        assert str(identity.config) == image.config_digest
        assert containerd.images.config_of(SPACE, Digest.parse(image.manifest_digest)) == identity.config
