"""A read-only layer as it is unpacked on this host, for comparison with the table the image says it is.

In: one lower directory as a `Tree`. Out: the layer's records in the table's own order (bytewise by path), one at a time, so that whoever
compares holds one record; `pace` of the tree throttles it, and stopping between two records is always possible: go on with `after`.
Never writes, never judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from intact.model.container import IdMap
from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Kind, parent
from intact.model.layer import Record
from intact.model.observation import Unobserved

from .owners import map_owners
from .ports import Budget, Content, Node, Tree, Unsteady

_WHITEOUT = (0, 0)


def read_layer(tree: Tree, *, after: bytes = b"", uid_map: tuple[IdMap, ...] = (), gid_map: tuple[IdMap, ...] = (),
               algorithms: Algorithms = SHA256, budget: Budget | None = None) -> Iterator[Record | Unobserved]:  # fmt: skip
    """The layer's records after the path `after`. A whiteout is a character device 0:0, or since Linux 6.7 an empty file with the attribute
    `whiteout` in a directory whose `opaque` is x (overlayfs.rst, "Nesting overlayfs mounts"). A file that cannot be read comes as its
    record without a digest, followed by the reason."""
    limits = budget or Budget(read_bytes=1 << 62, seconds=86_400.0)
    holders: set[bytes] = set()
    read_bytes = 0

    def is_holder(directory: bytes) -> bool:
        if directory <= after and directory not in holders and _holds_whiteouts(tree, directory):  # it was told before
            holders.add(directory)
        return directory in holders

    for found in tree.walk(ordered=True, after=after, seconds=limits.seconds):
        if isinstance(found, Unobserved):
            yield found
            continue
        path = found.entry.path
        if found.overlay.get(b"opaque") == b"x":
            holders.add(path)
        if _is_whiteout(found, is_holder):
            yield Record(path=path, entry=None)
            continue
        entry = map_owners(found.entry, uid_map, gid_map)
        reason = None
        for attribute in (b"redirect", b"metacopy"):
            if attribute in found.overlay:
                reason = Unobserved(path=path, reason=f"{attribute.decode()}: its content is in another layer")
        if reason is None and entry.kind is Kind.FILE:
            result = tree.digest(found, max(0, limits.read_bytes - read_bytes), algorithms)
            if isinstance(result, Content):
                read_bytes += entry.size_bytes
                entry = replace(entry, digest=result.digest, further=result.further)
            else:
                reason = result.unobserved if isinstance(result, Unsteady) else result
        yield Record(path=path, entry=entry, opaque=found.overlay.get(b"opaque") == b"y")
        if reason is not None:
            yield reason


def _holds_whiteouts(tree: Tree, directory: bytes) -> bool:
    """Whether whiteouts made of files count in `directory`."""
    found = next((node for node in tree.visit([directory]) if isinstance(node, Node) and node.entry.path == directory), None)
    return found is not None and found.overlay.get(b"opaque") == b"x"


def _is_whiteout(node: Node, is_holder: Callable[[bytes], bool]) -> bool:
    entry = node.entry
    if entry.kind is Kind.CHAR:
        return entry.device == _WHITEOUT
    return entry.kind is Kind.FILE and entry.size_bytes == 0 and b"whiteout" in node.overlay and is_holder(parent(entry.path))
