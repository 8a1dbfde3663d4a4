"""Where entries of an overlay's upper directory have their content, if it lies in the layers beneath: `metacopy` and `redirect`.

In: nodes of the upper directory, each directory before what it holds; the image's baseline; the overlay's options. Out: the image's entries
that such nodes show. Never reads a file: that the layers beneath are the image's is verified on its own, whatever refers to them.

The rules are those of the kernel's Documentation/filesystems/overlayfs.rst ("renaming directories", "Metadata only copy up"), as its
fs/overlayfs/namei.c carries them out:

1. `metacopy` counts on a regular file; `redirect` on such a file, and on a directory that is not opaque. Elsewhere they mean nothing.
2. A redirect is one name in the place of the entry's own, or a path from the root of the layers. What else there is, is refused.
3. Without the mount's option the kernel refuses to go there, and with `userxattr` always: whoever writes the upper directory could else
   have any file of the layers shown.
4. A file takes its content from a regular file, a directory merges with a directory, or with nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from intact.model.container import Mounted
from intact.model.entry import Entry, Kind, ancestors, parent
from intact.model.layer import Baseline, moved
from intact.model.observation import Unobserved

from .ports import Node


@dataclass(slots=True)
class Beneath:
    """What one look learns of one overlay. `follows_metacopy`, `follows_redirect`: whether its mount does."""

    baseline: Baseline | None
    follows_metacopy: bool
    follows_redirect: bool
    directories: dict[bytes, bytes | None] = field(default_factory=dict)
    """Directories that do not merge with those of their own path beneath: with which, or with none."""

    @classmethod
    def of(cls, mounted: Mounted, baseline: Baseline | None) -> Beneath:
        options = mounted.options
        trusted = "userxattr" not in options  # 3
        return cls(
            baseline, trusted and "metacopy=on" in options, trusted and bool({"redirect_dir=on", "redirect_dir=follow"} & {*options})
        )

    def enter(self, node: Node) -> Unobserved | None:
        """Takes note of a directory; says why it cannot be told what it shows."""
        path = node.entry.path
        if not (self.follows_redirect or b"redirect" in node.overlay):
            return None
        if node.overlay.get(b"opaque") == b"y":
            self.directories[path] = None
        elif is_moved(node):
            target = self._follow(node)
            if isinstance(target, Unobserved):
                return target
            found = self.baseline.find(target) if self.baseline and target else None
            self.directories[path] = target if found is not None and found.kind is Kind.DIRECTORY else None  # 4
        return None

    def find_content(self, node: Node) -> Entry | Unobserved:
        """The image's file whose content the metadata-only copy `node` shows, or why that cannot be told."""
        path = node.entry.path
        if not self.follows_metacopy:
            return Unobserved(path=path, reason="metacopy: the overlay is not mounted to follow it, and shows nothing there")
        target = self._follow(node)
        if isinstance(target, Unobserved):
            return target
        found = self.baseline.find(target) if self.baseline and target else None
        if found is None or found.kind is not Kind.FILE:  # 4
            return Unobserved(path=path, reason="metacopy: its content is in a layer beneath, where the image has no such file")
        if found.digest is None and not found.further:
            return Unobserved(path=path, reason="metacopy: its content is in a layer beneath, and the baseline does not state it")
        if found.size_bytes != node.entry.size_bytes:
            return Unobserved(path=path, reason="metacopy: it has not the size of its content in a layer beneath")
        return found

    def list_moved(self, directory: bytes) -> Iterator[Entry]:
        """What the layers beneath show below the moved `directory`, under the names it now has, in order of the image's path."""
        origin = self.directories.get(directory)
        if origin is None or self.baseline is None:
            return
        for entry in self.baseline.scan(origin):
            yield moved(entry, directory + entry.path[len(origin) :])

    def _follow(self, node: Node) -> bytes | Unobserved | None:
        """The path among the layers beneath that `node` shows; None if its directory merges with none."""
        path, redirect = node.entry.path, node.overlay.get(b"redirect")
        if redirect is None:
            return self._locate(path)
        if not self.follows_redirect:  # 3
            return Unobserved(path=path, reason="redirect: the overlay is not mounted to follow it, and shows nothing there")
        if self.baseline is not None and not self.baseline.stated.is_everything:
            return Unobserved(path=path, reason="redirect: its content is in a layer beneath, and the baseline does not state all of those")
        if self.baseline is None or not _is_valid(redirect):  # 2
            return Unobserved(path=path, reason="redirect: its content is in a layer beneath under another name")
        return redirect if redirect.startswith(b"/") else self._locate(parent(path).rstrip(b"/") + b"/" + redirect)

    def _locate(self, path: bytes) -> bytes | None:
        """`path` as the layers beneath know it, by the directories above it."""
        for above in ancestors(path):
            if above in self.directories:
                origin = self.directories[above]
                return None if origin is None else origin + path[len(above) :]
        return path


def is_moved(node: Node) -> bool:
    """1. Whether `node` is a directory that merges with one of another name."""
    return (
        node.entry.kind is Kind.DIRECTORY
        and b"redirect" in node.overlay
        and node.overlay.get(b"opaque") != b"y"
        and node.entry.path != b"/"
    )


def is_metadata_only(node: Node) -> bool:
    """1. Whether `node` is a file whose content is in a layer beneath."""
    return node.entry.kind is Kind.FILE and b"metacopy" in node.overlay


def _is_valid(redirect: bytes) -> bool:
    names = redirect[1:].split(b"/") if redirect.startswith(b"/") else [redirect]
    return b"\0" not in redirect and not any(name in (b"", b".", b"..") or b"/" in name for name in names)
