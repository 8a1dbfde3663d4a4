"""Snapshot directories: `<namespace>/<image>/<tag>.<algorithm>`, each file a checksum list.

In: file names below such a directory → which image and algorithm each is of; and back. Never touches a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from intact.model.digest import SIZES
from intact.model.errors import InputError

SCHEME = "snapshot:"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_ALGORITHMS = {**{name: name for name in SIZES}, **{name.replace("sha", "sha-"): name for name in SIZES if name.startswith("sha")}}


@dataclass(frozen=True, slots=True, order=True)
class SnapshotName:
    """Whose snapshot: `image` may have slashes."""

    namespace: str
    image: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> SnapshotName:
        """`NAMESPACE/IMAGE/TAG`; raises InputError on anything that would be no three names below a directory."""
        parts = text.split("/")
        if len(parts) < 3 or not all(map(_PART.fullmatch, parts)):
            raise InputError(f"{text[:200]!r} is not NAMESPACE/IMAGE/TAG", code="SnapshotName", hint="letters, digits, `.`, `_` and `-`")
        return cls(parts[0], "/".join(parts[1:-1]), parts[-1])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.image}/{self.tag}"


def parse_file_name(relative: str) -> tuple[SnapshotName, str] | None:
    """`shop/web/1.2.sha256` → (shop/web/1.2, `sha256`); None for a file that is no snapshot."""
    stem, dot, suffix = relative.rpartition(".")
    algorithm = _ALGORITHMS.get(suffix.lower())
    if not dot or algorithm is None:
        return None
    try:
        return SnapshotName.parse(stem), algorithm
    except InputError:
        return None


def file_name(name: SnapshotName, algorithm: str) -> str:
    return f"{name}.{algorithm}"


def group(relatives: Iterable[str]) -> tuple[dict[SnapshotName, dict[str, str]], list[str]]:
    """Files below a directory → per image, algorithm → file; and those that are no snapshots. Raises InputError where two say the same."""
    found: dict[SnapshotName, dict[str, str]] = {}
    others = []
    for relative in sorted(relatives):
        parsed = parse_file_name(relative)
        if parsed is None:
            others.append(relative)
            continue
        name, algorithm = parsed
        if found.setdefault(name, {}).setdefault(algorithm, relative) != relative:
            raise InputError(f"{relative} and {found[name][algorithm]} are both {name} by {algorithm}", code="SnapshotName")
    return found, others
