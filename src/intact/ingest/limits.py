"""The bounds ingest sets to what an image may ask of it. Each is far above what images in use need, and says so when it bites."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds per image, layer or member; a layer or document beyond them is refused with InputError."""

    entries: int = 2_000_000
    """Members of one layer."""
    path_bytes: int = 4096
    """Of a member's name (PATH_MAX)."""
    name_bytes: int = 255
    """Of one part of a name (NAME_MAX)."""
    extended_header_bytes: int = 1 << 20
    """Of one PAX header or GNU long name, as Go's archive/tar bounds it."""
    xattr_bytes: int = 1 << 16
    """Of one extended attribute's value (XATTR_SIZE_MAX)."""
    xattrs: int = 256
    """Of one member."""
    uncompressed_bytes: int = 256 << 30
    """Of one layer."""
    ratio: int = 1_200
    """Uncompressed over compressed bytes, once `ratio_free_bytes` were seen: gzip cannot exceed 1,032, zstd can."""
    ratio_free_bytes: int = 256 << 20
    record_bytes: int = 512 << 20
    """Of all names, link targets and attributes of one layer, the directories that it only implies included: what its table keeps in
    memory. A hundred bytes of archive can imply two thousand directories."""
    steps: int = 100_000_000
    """Parts of names and directory entries looked at while links and whiteouts of one layer are followed."""
    document_bytes: int = 8 << 20
    """Of an index, a manifest or a configuration, as containerd bounds it."""
    layers: int = 500
    """Of one image: more than overlayfs can mount."""
