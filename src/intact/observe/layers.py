"""A read-only layer as it is unpacked on this host, for comparison with the table the image says it is.

In: one lower directory as a `Tree`. Out: the layer's records in the table's own order (bytewise by path), one at a time, so that whoever
compares holds one record; `pace` of the tree throttles it, and stopping between two records is always possible: go on with `after`.
Or only the named files of it. Never writes, never judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from intact.model.container import IdMap
from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Entry, Kind, parent
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
        record, reason = _read_node(tree, found, entry, max(0, limits.read_bytes - read_bytes), algorithms)
        if entry.kind is Kind.FILE and reason is None:
            read_bytes += entry.size_bytes
        yield record
        if reason is not None:
            yield reason


def read_files(tree: Tree, paths: Iterable[bytes], *, algorithms: Algorithms = SHA256) -> list[Record | Unobserved]:
    """The layer's records of `paths`, as far as they exist, sorted; what could not be read of them, or above them, comes first. A whiteout
    made of a file comes as the file that it is."""
    wanted = frozenset(paths)
    records: list[Record] = []
    unobserved: list[Unobserved] = []
    for found in tree.visit(wanted):
        if isinstance(found, Unobserved):
            unobserved.append(found)
        elif found.entry.path in wanted and _is_whiteout(found, lambda directory: False):
            records.append(Record(path=found.entry.path, entry=None))
        elif found.entry.path in wanted:
            record, reason = _read_node(tree, found, found.entry, 1 << 62, algorithms)
            records.append(record)
            unobserved += [reason] if reason is not None else []
    return [*unobserved, *sorted(records, key=lambda record: record.path)]


def _read_node(tree: Tree, node: Node, entry: Entry, limit_bytes: int, algorithms: Algorithms) -> tuple[Record, Unobserved | None]:
    """What `node` is, with its digest as `entry`'s, or the reason why there is none."""
    path, reason = entry.path, None
    for attribute in (b"redirect", b"metacopy"):
        if attribute in node.overlay:
            reason = Unobserved(path=path, reason=f"{attribute.decode()}: its content is in another layer")
    if reason is None and entry.kind is Kind.FILE:
        result = tree.digest(node, limit_bytes, algorithms)
        if isinstance(result, Content):
            entry = replace(entry, digest=result.digest, further=result.further)
        else:
            reason = result.unobserved if isinstance(result, Unsteady) else result
    return Record(path=path, entry=entry, opaque=node.overlay.get(b"opaque") == b"y"), reason


def _holds_whiteouts(tree: Tree, directory: bytes) -> bool:
    """Whether whiteouts made of files count in `directory`."""
    found = next((node for node in tree.visit([directory]) if isinstance(node, Node) and node.entry.path == directory), None)
    return found is not None and found.overlay.get(b"opaque") == b"x"


def _is_whiteout(node: Node, is_holder: Callable[[bytes], bool]) -> bool:
    entry = node.entry
    if entry.kind is Kind.CHAR:
        return entry.device == _WHITEOUT
    return entry.kind is Kind.FILE and entry.size_bytes == 0 and b"whiteout" in node.overlay and is_holder(parent(entry.path))
