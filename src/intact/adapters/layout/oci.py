"""`oci:DIR[:TAG]` and `oci-archive:FILE[:TAG]`: an OCI image layout (image-spec, image-layout.md), or a tar of one, as a BlobSource.

An archive is read in place. Never follows a symlink out of `blobs/`, never believes a size: whoever reads verifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

from .files import open_regular, read_chunks
from .json import read_json
from .members import Members

_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


class _Files(Protocol):
    """Where a layout's files lie, by their names in it."""

    def open(self, name: str) -> AbstractContextManager[Iterator[bytes]]: ...

    def read_json(self, name: str) -> Any: ...


class _Layout:
    """One image of a layout. Without a tag the layout must hold exactly one."""

    def __init__(self, place: str, files: _Files, tag: str) -> None:
        self._place = place
        self._files = files
        self._tag = tag

    @property
    def name(self) -> str:
        return self._place + (f":{self._tag}" if self._tag else "")

    def root(self) -> Descriptor:
        """The manifest or index that the layout's index.json names. Raises InputError if it names none, or several."""
        entry = self._entry()
        try:
            return Descriptor(media_type=str(entry["mediaType"]), digest=Digest.parse(str(entry["digest"])), size_bytes=int(entry["size"]))
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{self.name}: index.json has a malformed entry", code="Layout") from None

    def aliases(self) -> tuple[str, ...]:
        """Full names alone: a tag without a repository is no name elsewhere."""
        annotations = self._entry().get("annotations")
        names = annotations if isinstance(annotations, dict) else {}
        found = [str(names[key]) for key in (_CONTAINERD_NAME, _NAME) if key in names]
        return tuple(dict.fromkeys(name for name in found if "/" in name))

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        with self._files.open(f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}") as chunks:
            yield chunks

    def _entry(self) -> dict[str, Any]:
        index = self._files.read_json("index.json")
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{self.name}: index.json lists no manifests", code="Layout", hint="is it an OCI image layout?")
        tags = [_tag_of(entry) for entry in entries]
        found = [entry for entry, tag in zip(entries, tags, strict=True) if not self._tag or tag == self._tag]
        if len(found) == 1:
            return dict(found[0])
        known = ", ".join(sorted(tag for tag in tags if tag)[:20]) or "none is named"
        problem = "has several images" if found else f"has no image {self._tag!r}"
        raise InputError(f"{self._place} {problem}", code="NoSuchImage", hint=f"tags: {known}")


def _tag_of(entry: dict[str, Any]) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(_NAME, "")) if isinstance(annotations, dict) else ""


class _Directory:
    def __init__(self, directory: Path, what: str) -> None:
        self._directory = directory
        self._what = what

    @contextmanager
    def open(self, name: str) -> Iterator[Iterator[bytes]]:
        with open_regular(self._directory / name, f"{self._what}: {name}") as fd:
            yield read_chunks(fd)

    def read_json(self, name: str) -> Any:
        return read_json(self._directory / name, self._what)


class LayoutSource(_Layout):
    """A layout's directory."""

    def __init__(self, directory: Path, tag: str = "") -> None:
        place = f"oci:{directory}"
        super().__init__(place, _Directory(directory, place), tag)


class LayoutArchiveSource(_Layout):
    """A tar of a layout, as `skopeo copy … oci-archive:` and `podman save --format oci-archive` write it."""

    def __init__(self, file: Path, tag: str = "") -> None:
        place = f"oci-archive:{file}"
        super().__init__(place, Members(file, place), tag)
