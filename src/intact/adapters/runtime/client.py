"""containerd's services by their published names: one method here is one call there.

In: namespaces, ids, digests. Out: the messages of `containerd.proto`, unverified. Never changes anything in the runtime.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from intact.model.digest import Digest
from intact.model.errors import InputError, TemporaryError, TrustError

from . import containerd_pb2 as pb
from .grpc import TIMEOUT_S, Channel, Metadata

_BLOB_TIMEOUT_S = 30.0


class Client:
    """containerd at a socket. Safe to share between threads. Errors as in `grpc.Channel`."""

    def __init__(self, socket: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket
        self.channel = Channel(socket, timeout_s=timeout_s)

    def close(self) -> None:
        self.channel.close()

    def version(self) -> str:
        return self.channel.call("/containerd.services.version.v1.Version/Version", pb.Empty(), pb.VersionResponse).version

    def namespaces(self) -> tuple[str, ...]:
        answer = self.channel.call("/containerd.services.namespaces.v1.Namespaces/List", pb.Empty(), pb.ListNamespacesResponse)
        return tuple(sorted(namespace.name for namespace in answer.namespaces))

    def tasks(self, namespace: str) -> tuple[pb.Process, ...]:
        """The first process of every container that has one, in whatever state."""
        answer = self.channel.call("/containerd.services.tasks.v1.Tasks/List", pb.Empty(), pb.ListTasksResponse, _in(namespace))
        return tuple(answer.tasks)

    def task(self, namespace: str, id: str) -> pb.Process:
        """The first process of the container `id`. Raises NotFound where it has none, or none any more."""
        method = "/containerd.services.tasks.v1.Tasks/Get"
        return self.channel.call(method, pb.GetTaskRequest(container_id=id), pb.GetTaskResponse, _in(namespace)).process

    def container(self, namespace: str, id: str) -> pb.Container:
        method = "/containerd.services.containers.v1.Containers/Get"
        return self.channel.call(method, pb.GetContainerRequest(id=id), pb.GetContainerResponse, _in(namespace)).container

    def mounts(self, namespace: str, snapshotter: str, key: str) -> tuple[pb.Mount, ...]:
        """How the snapshotter wants the snapshot `key` to be mounted."""
        method = "/containerd.services.snapshots.v1.Snapshots/Mounts"
        request = pb.SnapshotRequest(snapshotter=snapshotter, key=key)
        return tuple(self.channel.call(method, request, pb.MountsResponse, _in(namespace)).mounts)

    def snapshot_parent(self, namespace: str, snapshotter: str, key: str) -> str:
        """The snapshot that `key` was made from; for a container: its image's chain id (image-spec, config.md#layer-chainid)."""
        method = "/containerd.services.snapshots.v1.Snapshots/Stat"
        request = pb.SnapshotRequest(snapshotter=snapshotter, key=key)
        return self.channel.call(method, request, pb.StatSnapshotResponse, _in(namespace)).info.parent

    def image(self, namespace: str, name: str) -> pb.Image:
        method = "/containerd.services.images.v1.Images/Get"
        return self.channel.call(method, pb.GetImageRequest(name=name), pb.GetImageResponse, _in(namespace)).image

    def images(self, namespace: str) -> tuple[pb.Image, ...]:
        method = "/containerd.services.images.v1.Images/List"
        return tuple(self.channel.call(method, pb.ListImagesRequest(), pb.ListImagesResponse, _in(namespace)).images)

    def blob_size_bytes(self, namespace: str, digest: Digest) -> int:
        """Raises NotFound where the namespace's content store does not have the blob."""
        method = "/containerd.services.content.v1.Content/Info"
        return self.channel.call(method, pb.InfoRequest(digest=str(digest)), pb.InfoResponse, _in(namespace)).info.size

    @contextlib.contextmanager
    def open_blob(self, namespace: str, digest: Digest) -> Iterator[Iterator[bytes]]:
        """The blob's bytes in chunks, unverified. Raises NotFound at once or with the first chunk."""
        method = "/containerd.services.content.v1.Content/Read"
        request = pb.ReadContentRequest(digest=str(digest))
        with self.channel.stream(method, request, pb.ReadContentResponse, _in(namespace)) as stream:
            yield self._chunks(stream.read, digest)

    def _chunks(self, read: Callable[[float], pb.ReadContentResponse | None], digest: Digest) -> Iterator[bytes]:
        while True:
            try:
                chunk = read(_BLOB_TIMEOUT_S)
            except TimeoutError:
                message = f"{self.socket} sent nothing of {digest} for {_BLOB_TIMEOUT_S:g} s"
                raise TemporaryError(message, code="RuntimeTimeout") from None
            if chunk is None:
                return
            yield chunk.data

    def read_blob(self, namespace: str, digest: Digest, *, max_bytes: int) -> bytes:
        """A small blob as a whole. Raises TrustError where it is not what `digest` says, InputError where it is too large."""
        data = bytearray()
        with self.open_blob(namespace, digest) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > max_bytes:
                    raise InputError(f"{digest} in {self.socket} is larger than {max_bytes} bytes")
        if Digest.of(memoryview(data), digest.algorithm) != digest:
            raise TrustError(f"{digest} in {self.socket} has other content than its name says", code="DigestMismatch")
        return bytes(data)


def _in(namespace: str) -> Metadata:
    return (("containerd-namespace", namespace),)
