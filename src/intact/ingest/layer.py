"""The members of one layer → its records, by doing in memory what containerd does on disk (archive.Apply with the overlay converter).

1. A name is cleaned lexically; one that leaves the root is refused. The root's own metadata is ignored.
2. Its parent is resolved within this layer alone, symlinks followed as in a chroot; missing directories are made (`implicit`).
3. A whiteout marks what the layers beneath have (image-spec, layer.md#whiteouts). In the lowest layer nothing lies beneath: there it
   removes what the same layer wrote before it, and leaves no trace.
4. What stands at the path already is removed, unless both are directories, which merge.
5. A hard link shares its target's inode and gives it its own owner, mode and attributes; losing file capabilities by that is what
   chown(2) does.

In: members in archive order. Out: records sorted by path. Never touches a disk; whatever a runtime would fail on is an InputError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from posixpath import join, normpath
from typing import NoReturn

from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.entry import Entry, Kind, display_path, is_compared_xattr
from intact.model.errors import InputError
from intact.model.hashing import split_values
from intact.model.layer import MAX_LINKS, Form, Record

from . import tar
from .limits import Limits
from .tar import Member

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

MAX_ID = 0xFFFFFFFE
"""(uid_t) -1 means `unchanged` to chown(2)."""
_PARENTS_HELD = 10_000
_NODE_BYTES = 64
"""Added for each path to the bytes of its name."""
MAX_MAJOR, MAX_MINOR = 0xFFF, 0xFFFFF

_UNCLEAN = re.compile(rb"//|(?:^|/)\.\.?(?:/|$)")
_KINDS = {tar.REGULAR: Kind.FILE, tar.DIRECTORY: Kind.DIRECTORY, tar.SYMLINK: Kind.SYMLINK, tar.CHAR: Kind.CHAR,
          tar.BLOCK_DEVICE: Kind.BLOCK, tar.FIFO: Kind.FIFO}  # fmt: skip


def apply_members(
    members: Iterable[Member], *, base: bool, limits: Limits, layer: str, algorithms: Algorithms = SHA256
) -> tuple[Form, list[Record]]:
    """The layer's records, sorted by path, and whether its place in the stack matters. `base`: it lies lowest. `algorithms`: those that
    the members were read with."""
    tree = _Tree(base, limits, layer, algorithms)
    for member in members:
        tree.add(member)
    return tree.form, tree.records()


class _Node:
    """An inode: hard links share it."""

    __slots__ = ("children", "device", "digest", "gid", "implicit", "kind", "mode", "opaque", "size", "target", "uid", "xattrs")

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        """None: a whiteout."""
        self.mode = 0o755
        self.uid = self.gid = self.size = 0
        self.digest = self.target = b""
        self.device: tuple[int, int] | None = None
        self.xattrs: tuple[tuple[bytes, bytes], ...] = ()
        self.children: dict[bytes, _Node] = {}
        self.opaque = self.implicit = False


class _Tree:
    def __init__(self, base: bool, limits: Limits, layer: str, algorithms: Algorithms) -> None:
        self._base = base
        self._algorithms = algorithms
        self._limits = limits
        self._layer = layer
        self._root = _Node(Kind.DIRECTORY)
        self._root.implicit = True
        self._written: set[bytes] = set()
        self._parents: dict[bytes, tuple[bytes, _Node]] = {}
        self._marked = False
        self._name = b""
        self._kept_bytes = self._steps = 0

    @property
    def form(self) -> Form:
        if not self._marked:
            return Form.PLAIN
        return Form.BASE if self._base else Form.STACKED

    def add(self, member: Member) -> None:
        self._name = member.name
        name = self._clean(member.name)  # 1
        if not name:
            return
        above, _, last = name.rpartition(b"/")
        where, parent = self._parents.get(above) or self._make_parents(above)  # 2
        self._keep(len(where) + len(last) + len(member.link) + sum(len(key) + len(value) for key, value in member.xattrs.items()))
        if last.startswith(WHITEOUT):
            self._mark(where, parent, last)  # 3
            return
        existing = parent.children.get(last)
        if existing is not None and not (existing.kind is Kind.DIRECTORY and member.type == tar.DIRECTORY):
            del parent.children[last]  # 4
            self._parents.clear()
        if member.type == tar.GLOBAL:
            return
        if self._base:
            self._written.add(where + b"/" + last)
        if not (0 <= member.uid <= MAX_ID and 0 <= member.gid <= MAX_ID):
            self._refuse(f"its owner {member.uid}:{member.gid} is not a user and group id")
        if member.type == tar.LINK:
            node = self._linked(member)  # 5
        elif member.type == tar.DIRECTORY and existing is not None and existing.kind is Kind.DIRECTORY:
            node = existing
        else:
            node = self._create(member)
        node.implicit = False
        parent.children[last] = node
        node.uid, node.gid = member.uid, member.gid
        if node.kind is Kind.SYMLINK:
            node.mode = 0o777
        else:
            node.mode = member.mode
        if member.xattrs:
            self._set_xattrs(node, member.xattrs)

    def records(self) -> list[Record]:
        found: list[Record] = [self._record(b"/", self._root)]
        stack = [(b"", self._root)]
        while stack:
            path, node = stack.pop()
            for name, child in node.children.items():
                below = path + b"/" + name
                found.append(self._record(below, child))
                if child.children:
                    stack.append((below, child))
        found.sort(key=_by_path)
        return found

    def _clean(self, name: bytes) -> bytes:
        """filepath.Clean, without the leading slash; empty for the root."""
        if name.startswith(b"./"):
            name = name[2:]
        name = name.strip(b"/")
        if _UNCLEAN.search(name):
            name = normpath(name)
            if name == b"..":
                self._refuse("its name leaves the root", code="Traversal")
            if name.startswith(b"../"):
                self._refuse("its name leaves the root", code="Traversal")
            if name == b".":
                return b""
        if len(name) > self._limits.name_bytes and any(len(part) > self._limits.name_bytes for part in name.split(b"/")):
            self._refuse(f"a part of its name is longer than {self._limits.name_bytes} bytes")
        return name

    def _make_parents(self, above: bytes) -> tuple[bytes, _Node]:
        where = self._follow(above)
        node, made = self._root, self._root
        length = 0
        for part in where.split(b"/")[1:] if where != b"/" else ():
            length += 1 + len(part)
            child = node.children.get(part)
            if child is None:
                self._keep(length)
                made = _Node(Kind.DIRECTORY)
                made.implicit = True
                made.gid = node.gid if node.mode & 0o2000 else 0
                node.children[part] = child = made
            elif child.kind is not Kind.DIRECTORY:
                self._refuse("a part of its name is not a directory")
            node = child
        if len(self._parents) >= _PARENTS_HELD:
            self._parents.clear()
        self._parents[above] = found = (b"" if where == b"/" else where, node)
        return found

    def _follow(self, path: bytes) -> bytes:
        """`path` with every symlink of this layer resolved below the root (continuity, fs.RootPath)."""
        pending, followed = b"/" + path, 0
        while True:
            node, at = self._root, b""
            parts = pending.split(b"/")[1:] if pending != b"/" else []
            self._step(len(parts))
            for index, part in enumerate(parts):
                child = node.children.get(part)
                if child is None:
                    return pending
                if child.kind is Kind.SYMLINK:
                    followed += 1
                    if followed > MAX_LINKS:
                        self._refuse("the symlinks in its name do not end")
                    rest = b"/".join(parts[index + 1 :])
                    pending = normpath(b"/" + join(at or b"/", child.target, rest).lstrip(b"/"))
                    if len(pending) > self._limits.path_bytes:
                        self._refuse("its parent resolves to a path that is too long")
                    break
                if child.kind is not Kind.DIRECTORY and index + 1 < len(parts):
                    self._refuse("a part of its name is not a directory")
                node, at = child, at + b"/" + part
            else:
                return pending

    def _mark(self, where: bytes, parent: _Node, last: bytes) -> None:
        self._marked = True
        if last == OPAQUE:
            if self._base:
                self._remove_unwritten(where, parent)
            elif parent is not self._root:  # overlayfs does not look for the mark on a layer's root
                parent.opaque = True
            return
        hidden = last[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            self._refuse("a whiteout that names nothing")
        existing = parent.children.get(hidden)
        if self._base:
            if existing is not None:
                del parent.children[hidden]
                self._parents.clear()
        elif existing is None:
            parent.children[hidden] = _Node(None)
        elif existing.kind is Kind.DIRECTORY:
            existing.opaque = True

    def _remove_unwritten(self, where: bytes, directory: _Node) -> None:
        """Removes what no member named, from the top down, as the walk of containerd's naive converter does."""
        stack = [(where, directory)]
        while stack:
            path, node = stack.pop()
            self._step(len(node.children))
            for name in list(node.children):
                below = path + b"/" + name
                if below not in self._written:
                    del node.children[name]
                elif node.children[name].kind is Kind.DIRECTORY:
                    stack.append((below, node.children[name]))
        self._parents.clear()

    def _linked(self, member: Member) -> _Node:
        target = self._clean(member.link)
        above, _, last = target.rpartition(b"/")
        where = self._follow(above)
        node: _Node | None = self._root
        for part in [*(where.split(b"/")[1:] if where != b"/" else ()), last]:
            node = node.children.get(part) if node is not None else None
        if node is None or node.kind is None:
            self._refuse(f"a hard link to {display_path(member.link, 200)}, which this layer does not have before it", code="HardLink")
        if node.kind is Kind.DIRECTORY:
            self._refuse(f"a hard link to the directory {display_path(member.link, 200)}", code="HardLink")
        node.xattrs = tuple(pair for pair in node.xattrs if pair[0] != b"security.capability")
        return node

    def _create(self, member: Member) -> _Node:
        node = _Node(_KINDS[member.type])
        if node.kind is Kind.FILE:
            node.size, node.digest = member.size_bytes, member.digest
        elif node.kind is Kind.SYMLINK:
            if not member.link:
                self._refuse("a symlink without a target")
            node.target = member.link
        elif node.kind in (Kind.CHAR, Kind.BLOCK):
            major, minor = node.device = member.device
            if not (0 <= major <= MAX_MAJOR and 0 <= minor <= MAX_MINOR):
                self._refuse(f"its device number {major}:{minor} is out of range")
            if node.kind is Kind.CHAR and node.device == (0, 0):  # what overlayfs takes for a whiteout
                node = _Node(None)
        return node

    def _set_xattrs(self, node: _Node, xattrs: dict[bytes, bytes]) -> None:
        plain = node.kind in (Kind.FILE, Kind.DIRECTORY)
        merged = dict(node.xattrs)
        for name, value in xattrs.items():
            if is_compared_xattr(name) and (plain or not name.startswith((b"user.", b"system."))):
                merged[name] = value
        node.xattrs = tuple(sorted(merged.items()))

    def _record(self, path: bytes, node: _Node) -> Record:
        if node.kind is None:
            return Record(path=path, entry=None)
        digest: Digest | None = None
        further: tuple[Digest, ...] = ()
        if node.kind is Kind.FILE:
            digest, further = split_values(self._algorithms, node.digest)
        entry = Entry(path=path, kind=node.kind, mode=node.mode, uid=node.uid, gid=node.gid, size_bytes=node.size, digest=digest,
                      further=further, target=node.target, device=node.device, xattrs=node.xattrs)  # fmt: skip
        return Record(path=path, entry=entry, opaque=node.opaque, implicit=node.implicit)

    def _keep(self, size_bytes: int) -> None:
        self._kept_bytes += _NODE_BYTES + size_bytes
        if self._kept_bytes > self._limits.record_bytes:
            self._refuse(f"the names and attributes of the layer have more than {self._limits.record_bytes} bytes", code="TooLarge")

    def _step(self, count: int) -> None:
        self._steps += count
        if self._steps > self._limits.steps:
            self._refuse(f"its links and whiteouts take more than {self._limits.steps} steps to follow", code="TooLarge")

    def _refuse(self, what: str, code: str = "Layer") -> NoReturn:
        raise InputError(f"layer {self._layer}, member {display_path(self._name, 200)}: {what}", code=code)


def _by_path(record: Record) -> bytes:
    return record.path
