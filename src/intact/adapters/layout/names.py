"""Image names as skopeo writes them (containers-transports(5)) → the image.

In: `docker://HOST/REPO[:TAG][@DIGEST]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, `containerd:NAME`,
`containers-storage:[[DRIVER@]GRAPHROOT[+RUNROOT]]NAME`, `dir:PATH`. Out: a BlobSource, or a directory to walk.
`dir:` is a file tree here. Adapters that talk to something are imported only when named. Never opens anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from intact.adapters.registry.access import RegistryAccess, check_host, is_repository, is_tag
from intact.ingest.ports import BlobSource
from intact.model.digest import Digest
from intact.model.errors import InputError

TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "containerd:", "containers-storage:", "dir:")
FORMS = (
    "docker://HOST/REPO[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], containerd:NAME, "
    "containers-storage:[[DRIVER@]GRAPHROOT]NAME or dir:PATH"
)
DEFAULT_CONTAINERD = "/run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryName:
    """`host` with its port; `reference` is a tag or a digest."""

    host: str
    repository: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutName:
    directory: Path
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutArchiveName:
    """A tar of a layout."""

    file: Path
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveName:
    file: Path
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdName:
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageName:
    """`reference`: NAME, NAME@ID, @ID, NAME@DIGEST. Without a graph root: the store of this user."""

    reference: str
    driver: str = ""
    graphroot: Path | None = None
    runroot: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryName:
    path: Path


ImageName = RegistryName | LayoutName | LayoutArchiveName | ArchiveName | ContainerdName | StorageName | DirectoryName


def parse_image_name(text: str) -> ImageName:
    """Raises InputError on anything else than the forms above."""
    transport = next((known for known in TRANSPORTS if text.startswith(known)), None)
    rest = text.removeprefix(transport or "")
    if transport is None or not rest:
        raise InputError(f"{text[:200]!r} is not an image name", code="ImageName", hint=f"write {FORMS}")
    match transport:
        case "docker://":
            return parse_reference(rest)
        case "oci:":
            path, tag = _split_path(rest)
            return LayoutName(directory=path, tag=tag)
        case "oci-archive:":
            path, tag = _split_path(rest)
            return LayoutArchiveName(file=path, tag=tag)
        case "docker-archive:":
            path, image = _split_path(rest)
            return ArchiveName(file=path, image=image)
        case "containerd:":
            return ContainerdName(image=rest)
        case "containers-storage:":
            return _parse_storage(rest)
        case _:
            return DirectoryName(path=Path(rest))


def open_image(
    name: ImageName, *, access: RegistryAccess | None = None, containerd: str = DEFAULT_CONTAINERD
) -> BlobSource | DirectoryName:
    """The source of a named image; a directory is returned as it is, for a walk. `access`: how registries may be reached; by default
    anonymously, with TLS."""
    match name:
        case RegistryName():
            from intact.adapters.registry.source import RegistrySource

            return RegistrySource(name.host, name.repository, name.reference, access=access)
        case LayoutName():
            from .oci import LayoutSource

            return LayoutSource(name.directory, name.tag)
        case LayoutArchiveName():
            from .oci import LayoutArchiveSource

            return LayoutArchiveSource(name.file, name.tag)
        case ArchiveName():
            from .archive import ArchiveSource

            return ArchiveSource(name.file, name.image)
        case ContainerdName():
            from intact.adapters.runtime.content import ContainerdSource

            return ContainerdSource(name.image, socket=containerd)
        case StorageName():
            from intact.adapters.containers_storage.source import open_storage

            return open_storage(name.reference, driver=name.driver, graphroot=name.graphroot, runroot=name.runroot)
        case DirectoryName():
            return name
    assert_never(name)


def parse_reference(text: str) -> RegistryName:
    """`HOST/REPO[:TAG][@DIGEST]` as the distribution project's reference grammar has it; a digest beats a tag."""
    rest, _, digest = text.partition("@")
    first, slash, repository = rest.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, repository = "docker.io", rest if slash else f"library/{rest}"
    repository, colon, tag = repository.partition(":")
    if not is_repository(repository) or (colon and not is_tag(tag)) or "@" in digest:
        raise InputError(
            f"docker://{text[:200]!r} is not an image reference",
            code="ImageName",
            hint="write HOST/REPO:TAG or HOST/REPO@sha256:…; the repository in lower case",
        )
    if digest:
        Digest.parse(digest)
    return RegistryName(host=check_host(first), repository=repository, reference=digest or tag or "latest")


def _split_path(rest: str) -> tuple[Path, str]:
    """`PATH[:NAME]`: the path ends at the first colon, as in skopeo."""
    path, _, name = rest.partition(":")
    return Path(path), name


def _parse_storage(rest: str) -> StorageName:
    """`[[DRIVER@]GRAPHROOT[+RUNROOT]]REFERENCE`; the first part is optional, its paths absolute."""
    driver, graphroot, runroot, reference = "", "", "", rest
    if rest.startswith("["):
        place, bracket, reference = rest[1:].partition("]")
        head, at, paths = place.partition("@")
        driver, paths = (head, paths) if at else ("", place)
        graphroot, _, runroot = paths.partition("+")
        usable = bracket and graphroot.startswith("/") and (not runroot or runroot.startswith("/")) and ":" not in place
        if not usable or "/" in driver or not reference:
            raise InputError(
                f"containers-storage:{rest[:200]} names no image of a store",
                code="ImageName",
                hint="write containers-storage:[overlay@/var/lib/containers/storage]NAME; a store's options cannot be given here",
            )
    return StorageName(
        reference=reference, driver=driver, graphroot=Path(graphroot) if graphroot else None, runroot=Path(runroot) if runroot else None
    )
