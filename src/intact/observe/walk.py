"""A whole tree, file by file: for a root directory that people name, and where no overlay can be seen.

In: a container (or what stands for one) and a `Tree`. Out: an `Observation` of scope TREE, every regular file hashed. Never compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from intact.model.container import Container, IdMap
from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Entry, Kind
from intact.model.observation import Observation, Scope, Unobserved

from .owners import map_owners
from .ports import Budget, Content, Node, Tree, Unsteady


def walk_tree(container: Container, tree: Tree, *, clock: Callable[[], float], budget: Budget | None = None,
              uid_map: tuple[IdMap, ...] = (), gid_map: tuple[IdMap, ...] = (), targets: tuple[bytes, ...] = (),
              algorithms: Algorithms = SHA256, progress: Callable[[int, int], None] | None = None) -> Observation:  # fmt: skip
    """Reads everything below the tree's root. `progress` is told entries and bytes after each; `clock` gives Unix seconds."""
    started = clock()
    limits = budget or Budget()
    present: list[Entry] = []
    unobserved: list[Unobserved] = []
    unlisted = read_bytes = 0
    for found in tree.walk(ordered=True, seconds=limits.seconds):
        if isinstance(found, Unobserved):
            unobserved.append(found)
            continue
        if len(present) >= limits.entries:
            unlisted += 1
            continue
        entry = map_owners(found.entry, uid_map, gid_map)
        if entry.kind is Kind.FILE:
            result = _read(tree, found, limits.read_bytes - read_bytes, algorithms)
            if isinstance(result, Content):
                read_bytes += entry.size_bytes
                entry = replace(entry, digest=result.digest, further=result.further)
            else:
                unobserved.append(result)
        present.append(entry)
        if progress:
            progress(len(present), read_bytes)
    if unlisted:
        unobserved.append(Unobserved(path=b"/", reason=f"{unlisted} more entries were counted and not listed"))
    return Observation(
        container=container,
        scope=Scope.TREE,
        present=tuple(present),
        unobserved=tuple(unobserved),
        targets=targets,
        unlisted=unlisted,
        started_at=started,
        finished_at=clock(),
    )


def _read(tree: Tree, node: Node, left_bytes: int, algorithms: Algorithms) -> Content | Unobserved:
    if node.entry.size_bytes > left_bytes:
        return Unobserved(path=node.entry.path, reason="more bytes to read than one look may")
    result = tree.digest(node, node.entry.size_bytes, algorithms)
    return result.unobserved if isinstance(result, Unsteady) else result
