"""`oci:DIR[:TAG]`: an OCI image layout (image-spec, image-layout.md) as a BlobSource.

Never follows a symlink out of `blobs/`, never believes
a size: whoever reads verifies."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, PermanentError

from .json import read_json

CHUNK_BYTES = 1 << 20
_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


class LayoutSource:
    """One image of a layout. Without a tag the layout must hold exactly one."""

    def __init__(self, directory: Path, tag: str = "") -> None:
        self._directory = directory
        self._tag = tag

    @property
    def name(self) -> str:
        return f"oci:{self._directory}" + (f":{self._tag}" if self._tag else "")

    def root(self) -> Descriptor:
        """The manifest or index that the layout's index.json names. Raises InputError if it names none, or several."""
        entry = self._entry()
        try:
            return Descriptor(media_type=str(entry["mediaType"]), digest=Digest.parse(str(entry["digest"])), size_bytes=int(entry["size"]))
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{self.name}: index.json has a malformed entry", code="Layout") from None

    def aliases(self) -> tuple[str, ...]:
        annotations = self._entry().get("annotations")
        names = annotations if isinstance(annotations, dict) else {}
        return tuple(str(names[key]) for key in (_CONTAINERD_NAME,) if key in names)

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        path = self._directory / "blobs" / descriptor.digest.algorithm / descriptor.digest.hex
        with open_regular(path, f"{self.name}: blob {descriptor.digest}") as fd:
            yield read_chunks(fd)

    def _entry(self) -> dict[str, Any]:
        index = read_json(self._directory / "index.json", self.name)
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{self.name}: index.json lists no manifests", code="Layout", hint="is it an OCI image layout?")
        tags = [_tag_of(entry) for entry in entries]
        found = [entry for entry, tag in zip(entries, tags, strict=True) if not self._tag or tag == self._tag]
        if len(found) == 1:
            return dict(found[0])
        known = ", ".join(sorted(tag for tag in tags if tag)[:20]) or "none is named"
        problem = "has several images" if found else f"has no image {self._tag!r}"
        raise InputError(f"oci:{self._directory} {problem}", code="NoSuchImage", hint=f"tags: {known}")


def _tag_of(entry: dict[str, Any]) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(_NAME, "")) if isinstance(annotations, dict) else ""


@contextmanager
def open_regular(path: Path, what: str) -> Iterator[int]:
    """A descriptor of a regular file; raises InputError (no such file, something else than a file) or PermanentError (no right to read)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"{what} is not there", code="BlobUnknown") from None
    except PermissionError as error:
        raise PermanentError(f"{what}: {error.strerror}", code="Permission") from None
    except OSError as error:
        raise InputError(f"{what}: {error.strerror}", code="Layout") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InputError(f"{what} is not a regular file", code="Layout")
        yield fd
    finally:
        os.close(fd)


def read_chunks(fd: int, *, start: int = 0, size_bytes: int | None = None) -> Iterator[bytes]:
    """The file's bytes from `start`, at most `size_bytes` of them."""
    at, left = start, size_bytes
    while left is None or left > 0:
        chunk = os.pread(fd, CHUNK_BYTES if left is None else min(CHUNK_BYTES, left), at)
        if not chunk:
            return
        at += len(chunk)
        left = None if left is None else left - len(chunk)
        yield chunk
