"""A baseline → a BSD mtree specification: full paths, one entry a line, numbers instead of names of owners, and no time.

Extended attributes have no keyword, nor have some algorithms: they are counted. Never reads a specification: `mtree` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline
from intact.model.stated import Aspect

from .losses import Losses
from .mtree import TYPES
from .vis import encode_vis

_TYPES = {kind: name for name, kind in TYPES.items()}
_ALGORITHMS = frozenset({"md5", "sha1", "sha256", "sha384", "sha512"})
"""Those that have a keyword."""


def export_mtree(baseline: Baseline, losses: Losses) -> Iterator[bytes]:
    """A specification that `mtree -p ROOT -f FILE` finds clean on the unpacked image, and libarchive reads."""
    yield b"#mtree v2.0\n"
    stated = baseline.stated
    aspects = stated.aspects
    for entry in baseline.scan():
        if not stated.speaks_of(entry):
            continue
        name = b"." if entry.path == b"/" else b"." + encode_vis(entry.path)
        words = [name, b"type=" + _TYPES[entry.kind]]
        if Aspect.MODE in aspects and entry.kind is not Kind.SYMLINK:
            words.append(b"mode=%04o" % entry.mode)
        if Aspect.UID in aspects:
            words.append(b"uid=%d" % entry.uid)
        if Aspect.GID in aspects:
            words.append(b"gid=%d" % entry.gid)
        if entry.kind is Kind.FILE:
            if Aspect.SIZE in aspects:
                words.append(b"size=%d" % entry.size_bytes)
            words += _write_digests(entry, losses)
        if entry.kind is Kind.SYMLINK and Aspect.TARGET in aspects:
            words.append(b"link=" + encode_vis(entry.target))
        if entry.device is not None and Aspect.DEVICE in aspects:
            words.append(b"device=native,%d,%d" % entry.device)
        if entry.xattrs:
            losses.parts["extended attributes"] += 1
        yield b" ".join(words) + b"\n"


def _write_digests(entry: Entry, losses: Losses) -> Iterator[bytes]:
    known = [digest for digest in (entry.digest, *entry.further) if digest is not None]
    if not known:
        losses.parts["content that was not read"] += 1
    for digest in known:
        if digest.algorithm in _ALGORITHMS:
            yield b"%bdigest=%b" % (digest.algorithm.encode(), digest.hex.encode())
        else:
            losses.parts[f"{digest.algorithm} value"] += 1
