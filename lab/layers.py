"""Layer archives as the OCI image specification describes them (image-spec layer.md), made byte for byte as asked.

In: entries. Out: one uncompressed PAX tar, the same bytes every time. Never reads the file system, never adds an entry of its own.
"""

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tar member. `path` is absolute; `mode` holds the permission bits alone."""

    path: bytes
    type: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    content: bytes = b""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def file(path: bytes, content: bytes, mode: int = 0o644, **more: object) -> Entry:
    return Entry(path=path, type=tarfile.REGTYPE, content=content, mode=mode, **more)  # type: ignore[arg-type]


def directory(path: bytes, mode: int = 0o755, **more: object) -> Entry:
    return Entry(path=path, type=tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]


def symlink(path: bytes, target: bytes, **more: object) -> Entry:
    return Entry(path=path, type=tarfile.SYMTYPE, target=target, mode=0o777, **more)  # type: ignore[arg-type]


def hard_link(path: bytes, target: Entry) -> Entry:
    """Another name of `target`, an earlier entry of the same layer. As archivers do, the member repeats its metadata:
    a runtime applies what stands in the link's own header to the file that both names share."""
    return replace(target, path=path, type=tarfile.LNKTYPE, target=target.path.lstrip(b"/"), content=b"", xattrs={})


def character_device(path: bytes, device: tuple[int, int], mode: int = 0o666) -> Entry:
    return Entry(path=path, type=tarfile.CHRTYPE, device=device, mode=mode)


def block_device(path: bytes, device: tuple[int, int], mode: int = 0o660) -> Entry:
    return Entry(path=path, type=tarfile.BLKTYPE, device=device, mode=mode)


def fifo(path: bytes, mode: int = 0o644) -> Entry:
    return Entry(path=path, type=tarfile.FIFOTYPE, mode=mode)


def whiteout(path: bytes) -> Entry:
    """Removes `path` of the layers below (layer.md, Whiteouts)."""
    parent, _, name = path.rpartition(b"/")
    return file(parent + b"/" + WHITEOUT + name, b"")


def opaque(path: bytes) -> Entry:
    """Hides every child that directory `path` has in the layers below (layer.md, Opaque Whiteout)."""
    return file(path.rstrip(b"/") + b"/" + OPAQUE, b"")


def build_tar(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, in the order given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for entry in entries:
            archive.addfile(_describe(entry), io.BytesIO(entry.content))
    return buffer.getvalue()


def _describe(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(os.fsdecode(entry.path.lstrip(b"/")) or ".")
    info.type, info.mode = entry.type, stat.S_IMODE(entry.mode)
    info.uid, info.gid, info.mtime = entry.uid, entry.gid, entry.mtime_s
    info.linkname = os.fsdecode(entry.target)
    info.devmajor, info.devminor = entry.device
    info.size = len(entry.content)
    info.pax_headers = {"SCHILY.xattr." + name: value.decode("utf-8", "surrogateescape") for name, value in entry.xattrs.items()}
    return info
