"""The containers that containerd runs on this host, with their files' places.

In: containerd's socket, and the host's confirmation of mounts. Out: `Running` records. Never changes anything in the runtime, never reads
a container's files, and never leaves a container out silently: one whose files cannot be seen comes with the reason, and hides no other.

One container is read in these steps, once a task; the answer is kept until the task ends:

1. Its record: labels, image name, runtime, configuration. Gone by now: not listed.
2. Runtime and snapshotter must be ones whose files this host can see.
3. The snapshot's overlay: upper and lower directories.
4. The image: the config digest that CRI noted, else the image name's. Its layers' chain id must be the snapshot that the container was made
   from, since a name may have moved to another image after the container was started.
5. The host's mount table must confirm the overlay.
6. Where something was missing, the task is looked at once more: what is missing because the container ended meanwhile is not listed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from intact.model.container import Container, Mounted, Running
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TemporaryError

from . import containerd_pb2 as pb
from .client import Client
from .grpc import NotFound
from .identity import printable, qualify_id, read_name, read_pinned_image, read_pod
from .images import ImageIdentity, Images
from .ports import Confirm
from .spec import Spec, parse_spec

RUNTIMES: Final = ("io.containerd.runc.v1", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux")
SNAPSHOTTERS: Final = ("overlayfs",)
MAX_IMAGE_NAME_LENGTH: Final = 512
_ALIVE: Final = (pb.RUNNING, pb.PAUSED, pb.PAUSING)


class Containerd:
    """Lists running containers of `namespaces`, or of all. Safe to share between threads."""

    def __init__(self, socket: str, confirm: Confirm, namespaces: Sequence[str] | None = None) -> None:
        self.client = Client(socket)
        self.images = Images(self.client)
        self._confirm = confirm
        self._namespaces = namespaces
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, int], Running] = {}

    def close(self) -> None:
        self.client.close()

    def list_running(self, node: str) -> tuple[Running, ...]:
        """Every container that runs or is paused, sandboxes included, in order of id. `node` is the name that findings carry.

        Raises TemporaryError where containerd does not answer, PermanentError where it is not containerd or may not be asked.
        """
        with self._lock:
            known: dict[tuple[str, str, int], Running] = {}
            listed = []
            for namespace in self._namespaces if self._namespaces is not None else self.client.namespaces():
                for task in self.client.tasks(namespace):
                    running = self._list_one(namespace, task, node)
                    if running is None:
                        continue
                    listed.append(running)
                    if is_complete(running):
                        known[namespace, task.container_id or task.id, task.pid] = running
            self._known = known
            return tuple(sorted(listed, key=lambda running: running.container.id))

    def read_ended(self, namespace: str, id: str, node: str) -> Running | None:
        """A container whose first process has ended; None if it runs again, or is not of the namespaces. No mount bears out any more where
        its files are: the runtime's word stands alone. What was removed with everything that told of it comes with that as its reason."""
        if self._namespaces is not None and namespace not in self._namespaces:
            return None
        try:
            if self.client.task(namespace, id).status in _ALIVE:
                return None
        except NotFound:
            pass  # its task was removed, as it is when it ends under Kubernetes
        try:
            return self._read(namespace, id, None, node)
        except NotFound:
            return _describe_unreadable(namespace, id, 0, node, "it ended, and was removed before it could be looked at")
        except IntactError as error:
            return _describe_unreadable(namespace, id, 0, node, self._explain(error))

    def _list_one(self, namespace: str, task: pb.Process, node: str) -> Running | None:
        id = task.container_id or task.id
        if task.status not in _ALIVE and task.status != pb.UNKNOWN:
            return None
        running = self._known.get((namespace, id, task.pid))
        if running is not None and running.container.node == node and task.status != pb.UNKNOWN:
            return running
        try:
            running = self._read(namespace, id, task.pid, node)
        except NotFound:  # 1
            return None
        except IntactError as error:
            running = _describe_unreadable(namespace, id, task.pid, node, self._explain(error))
        if not is_complete(running) and self._has_ended(namespace, id, task.pid):  # 6
            return None
        if task.status == pb.UNKNOWN:
            return replace(running, mounted=None, unobservable="the runtime does not know the state of its task")
        return running

    def _has_ended(self, namespace: str, id: str, init_pid: int) -> bool:
        try:
            task = self.client.task(namespace, id)
            return task.pid != init_pid or task.status == pb.STOPPED
        except NotFound:
            return True
        except TemporaryError:
            return False  # its shim does not answer: it stays listed, with the reason that it has already

    def _explain(self, error: IntactError) -> str:
        """Why one container could not be read. Raises TemporaryError where it is the runtime as a whole that does not answer."""
        if isinstance(error, TemporaryError):
            self.client.version()
        return str(error)

    def _read(self, namespace: str, id: str, init_pid: int | None, node: str) -> Running:
        record = self.client.container(namespace, id)  # 1
        shown_id = qualify_id(namespace, id)
        declared: Mounted | str
        try:
            spec = parse_spec(record.spec.value)
            declared = self._declare(namespace, record, spec)
        except InputError as error:
            spec, declared = Spec(), str(error)
        image_key, unkeyed = self._find_key(namespace, record)
        container = Container(
            id=shown_id,
            name=read_name(record, shown_id),
            image=_name_image(record, spec),
            image_key=image_key,
            node=node,
            pod=read_pod(record),
            started_at=record.created_at.seconds + record.created_at.nanos / 1e9,
        )
        mounted = declared
        if init_pid is not None and not isinstance(declared, str):
            confirmed = self._confirm(declared, id=id, namespace=namespace, init_pid=init_pid)  # 5
            if confirmed is None:  # 6
                raise NotFound(f"the first process of container {id} has ended")
            mounted = confirmed
        if isinstance(mounted, str):
            return Running(container=container, init_pid=init_pid or 0, mounted=None, unobservable=mounted, unkeyed=unkeyed)
        return Running(container=container, init_pid=init_pid or 0, mounted=mounted, unkeyed=unkeyed)

    def _declare(self, namespace: str, record: pb.Container, spec: Spec) -> Mounted | str:
        """The overlay as the runtime declares it, or why its files cannot be seen."""
        if record.runtime.name not in RUNTIMES:  # 2
            return f"runtime {printable(record.runtime.name) or 'without a name'}"
        if not record.snapshot_key:
            return "the runtime does not keep its file system (no snapshot)"
        if record.snapshotter not in SNAPSHOTTERS:
            return f"snapshotter {printable(record.snapshotter)}"
        try:
            mounts = self.client.mounts(namespace, record.snapshotter, record.snapshot_key)  # 3
        except NotFound:
            return "its snapshot is gone"
        declared = parse_overlay(mounts)
        if isinstance(declared, str):
            return declared
        return replace(
            declared,
            targets=spec.targets,
            mounts=spec.mounts,
            is_read_only=spec.is_read_only,
            uid_map=spec.uid_map,
            gid_map=spec.gid_map,
        )

    def _find_key(self, namespace: str, record: pb.Container) -> tuple[Digest | None, str]:
        """The image's config digest, or None and why."""
        pinned = read_pinned_image(record)  # 4
        try:
            if pinned is not None:
                image = self._identify_pinned(namespace, pinned)
            elif record.image:
                image = self.images.identify(namespace, record.image)
            else:
                return None, "the runtime names no image"
            if image is None:
                return pinned, ""
            parent = self.client.snapshot_parent(namespace, record.snapshotter, record.snapshot_key) if record.snapshot_key else ""
        except IntactError as error:
            return None, f"image {printable(record.image)}: {self._explain(error)}"
        if parent != image.chain_id and not parent.startswith(image.chain_id + "-"):  # a copy for a user namespace: CHAIN-UID-GID
            return None, f"image {printable(record.image)} is not, or no longer, the one the container was started from"
        return image.config, ""

    def _identify_pinned(self, namespace: str, pinned: Digest) -> ImageIdentity | None:
        """None where the config's content is gone: the digest CRI noted stands without it."""
        try:
            return self.images.identify_config(namespace, pinned)
        except NotFound:
            return None


def is_complete(running: Running) -> bool:
    """Whether everything about it is known, so that asking again would tell nothing new."""
    return running.mounted is not None and running.container.image_key is not None


def parse_overlay(mounts: Sequence[pb.Mount]) -> Mounted | str:
    """The one overlay of a snapshot, its `device` 0, or why it is none. Paths are the runtime's and absolute."""
    if len(mounts) != 1 or mounts[0].type != "overlay":
        return f"its snapshot is mounted as {printable(', '.join(mount.type for mount in mounts)) or 'nothing'}, not as one overlay"
    upper, options = b"", []
    lowers: tuple[bytes, ...] = ()
    for option in mounts[0].options:
        name, _, value = option.partition("=")
        if name == "upperdir":
            upper = value.encode()
        elif name in ("lowerdir", "lowerdir+"):
            lowers += split_lowers(value)
        elif name != "workdir":
            options.append(printable(option))
    if not upper:
        return "its snapshot is read-only"
    if not lowers or not all(path.startswith(b"/") for path in (upper, *lowers)):
        return "its snapshot's directories are not absolute paths"
    return Mounted(upper=upper, lowers=lowers, device=0, options=tuple(options))


def split_lowers(value: str) -> tuple[bytes, ...]:
    """`lowerdir=` → paths, top first; `\\:` and `\\\\` stand for themselves (overlayfs, Multiple lower layers)."""
    paths, path, escaped = [], "", False
    for character in value:
        if escaped or character not in "\\:":
            path, escaped = path + character, False
        elif character == "\\":
            escaped = True
        else:
            paths.append(path.encode())
            path = ""
    return (*paths, path.encode())


def _describe_unreadable(namespace: str, id: str, init_pid: int, node: str, why: str) -> Running:
    shown_id = qualify_id(namespace, id)
    container = Container(id=shown_id, name=shown_id, image="", image_key=None, node=node)
    return Running(container=container, init_pid=init_pid, mounted=None, unobservable=why, unkeyed=why)


def _name_image(record: pb.Container, spec: Spec) -> str:
    """The name people know: CRI starts containers by an image's digest and keeps the name beside it."""
    name = record.image
    if not name or name.startswith("sha256:"):
        name = spec.annotations.get("io.kubernetes.cri.image-name", name)
    return printable(name, MAX_IMAGE_NAME_LENGTH)
