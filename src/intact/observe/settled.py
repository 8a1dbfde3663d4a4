"""A read-only layer that was verified before, looked at again without reading what cannot have changed since.

In: a `Tree`, the layer's table, and when it was last found to be as the table says. Out: the same tree, whose files answer with the
table's digest if they have its size and their status (ctime, inode(7)) did not change since. What is not in the table is read.

The ctime of a file moves with every change of its content or its attributes, and nobody sets it but who sets the clock or writes the disk
below the file system. What was changed that way is found when the layer is read in full again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Kind
from intact.model.layer import LayerTable
from intact.model.observation import Unobserved

from .ports import Content, Node, Tree, Unsteady

MARGIN_S = 10.0
"""A change at the time of the last reading counts as one after it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """When a layer began to be read that turned out to be as `table` says, all of it; Unix seconds."""

    table: LayerTable
    verified_at: float


class SettledTree:
    """Implements `Tree`."""

    def __init__(self, tree: Tree, settled: Settled) -> None:
        self._tree, self._table = tree, settled.table
        self._before_ns = int((settled.verified_at - MARGIN_S) * 1e9)

    def walk(
        self, start: bytes = b"/", *, ordered: bool = False, after: bytes = b"", seconds: float = 120.0
    ) -> Iterator[Node | Unobserved]:
        return self._tree.walk(start, ordered=ordered, after=after, seconds=seconds)

    def visit(self, paths: Iterable[bytes]) -> Iterator[Node | Unobserved]:
        return self._tree.visit(paths)

    def digest(self, node: Node, limit_bytes: int, algorithms: Algorithms = SHA256) -> Content | Unsteady | Unobserved:
        if node.identity[4] < self._before_ns:
            record = self._table.find(node.entry.path)
            known = record.entry if record is not None else None
            if (
                known is not None
                and known.kind is Kind.FILE
                and known.size_bytes == node.entry.size_bytes
                and known.digest is not None
                and known.digest.algorithm == algorithms.deciding
            ):
                return Content(known.digest, known.further)
        return self._tree.digest(node, limit_bytes, algorithms)

    def head(self, node: Node, size_bytes: int) -> bytes | Unobserved:
        return self._tree.head(node, size_bytes)

    def open(self, node: Node) -> int | Unobserved:
        return self._tree.open(node)

    def close(self) -> None:
        self._tree.close()
