"""A running container: who it is, what it was started from, and where its files are on this host."""

from __future__ import annotations

from dataclasses import dataclass

from .digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The pod of a container, as the runtime knows it. The node never asks the Kubernetes API."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Identity of one container; what travels with every finding.

    `id` is the runtime's; `name` the container's name in its pod, or the id; `image` the name it was started by; `image_key` the image's
    config digest, None where the runtime does not know it. `started_at` is in Unix seconds.
    """

    id: str
    name: str
    image: str
    image_key: Digest | None
    node: str
    pod: Pod | None = None
    started_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """One line of a user namespace's map (user_namespaces(7)): `count` ids from `inside` are the host's from `outside`."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMount:
    """One mount of a container's own configuration (runtime-spec config.md#mounts). `kind` is `bind` for what comes from the host, `masked`
    for a path that the configuration hides or makes read-only, else the file system's; `options` as they stand there."""

    target: bytes
    kind: str
    source: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A container's overlay as the runtime declares it, and as the host's mount table confirmed it.

    `upper` and `lowers` (top first) are host paths. `targets` are the paths inside the container that its own runtime configuration mounts
    over, `mounts` says what; `is_read_only`: that configuration has the root read-only. `uid_map`/`gid_map` are empty for a container in
    the host's user namespace. `device` is the overlay's st_dev.
    """

    upper: bytes
    lowers: tuple[bytes, ...]
    device: int
    options: tuple[str, ...] = ()
    targets: tuple[bytes, ...] = ()
    mounts: tuple[DeclaredMount, ...] = ()
    is_read_only: bool = False
    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A container with its first process and its file system, or with the reason why that cannot be seen."""

    container: Container
    init_pid: int
    mounted: Mounted | None
    unobservable: str = ""
    """Why `mounted` is None: `runtime io.containerd.kata.v2`, `snapshotter stargz`, … Never empty when `mounted` is None."""
    unkeyed: str = ""
    """Why `container.image_key` is None: the image's content is missing, its name has moved, … Empty when there is a key."""
