"""The regular members of a tar archive on disk, read in place: nothing is unpacked.

In: a file. Out: members by name, in chunks or whole. Sparse members are left out, a symlink to a member stands for it (older `docker save`
links equal layers). Never reads past a member, and never holds more of the archive than a header.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from intact.model.errors import InputError

from .files import open_regular, read_chunks
from .json import MAX_JSON_BYTES, parse_json

MAX_MEMBERS = 100_000
MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    size_bytes: int


class Members:
    """The archive `file`; `what` names it in errors. It is looked through once, when something is first asked for."""

    def __init__(self, file: Path, what: str) -> None:
        self._file = file
        self._what = what
        self._places: dict[str, _Place] | None = None

    def size_bytes(self, name: str) -> int:
        """Raises InputError if there is no such member."""
        return self._place(name).size_bytes

    @contextmanager
    def open(self, name: str) -> Iterator[Iterator[bytes]]:
        """A member's content in chunks. Raises InputError if there is no such member."""
        place = self._place(name)
        with open_regular(self._file, self._what) as fd:
            yield read_chunks(fd, start=place.start, size_bytes=place.size_bytes)

    def read(self, name: str) -> bytes:
        """A small member, whole."""
        if self.size_bytes(name) > MAX_JSON_BYTES:
            raise InputError(f"{self._what}: {name} is larger than {MAX_JSON_BYTES} bytes", code="Archive")
        with self.open(name) as chunks:
            return b"".join(chunks)

    def read_json(self, name: str) -> Any:
        return parse_json(self.read(name), f"{self._what}: {name}")

    def _place(self, name: str) -> _Place:
        if self._places is None:
            self._places = self._index()
        if name not in self._places:
            raise InputError(f"{self._what} has no member {name!r}", code="BlobUnknown", hint="is the archive of that form, and complete?")
        return self._places[name]

    def _index(self) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        links: dict[str, str] = {}
        try:
            with (
                open_regular(self._file, self._what) as fd,
                open(fd, "rb", closefd=False) as file,
                tarfile.open(fileobj=cast(IO[bytes], Sparing(file, self._what)), mode="r:") as archive,
            ):
                for count, member in enumerate(archive):
                    if count > MAX_MEMBERS:
                        raise InputError(f"{self._what} has more than {MAX_MEMBERS} members", code="Archive")
                    name = member.name.removeprefix("./")
                    if member.isreg() and not member.issparse():
                        places[name] = _Place(member.offset_data, member.size)
                    elif member.issym():
                        links[name] = _join(name, member.linkname)
                    cast(Any, archive).members = []  # it would keep them all
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self._what} is not a tar archive: {error}", code="Archive", hint="decompress it first if it is compressed"
            ) from None
        for link, target in links.items():
            if target in places:
                places.setdefault(link, places[target])
        return places


class Sparing:
    """What `tarfile` reads of the archive: headers. One that wants to be held in memory, whatever size it states, is refused."""

    def __init__(self, file: io.BufferedReader, what: str) -> None:
        self._file = file
        self._what = what
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise InputError(f"{self._what}: a header has {size} bytes, more than {MAX_HEADER_BYTES}", code="Archive")
        return self._file.read(size)


def _join(link: str, target: str) -> str:
    """A relative symlink's target as a member's name: `a/layer.tar` → `../b/layer.tar` is `b/layer.tar`."""
    parts = link.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
