"""Leaves that match a query, from wherever the log is."""

from __future__ import annotations

from collections.abc import Iterator

from .ports import LeafStore, Query, workload_name
from .record import Leaf, parse_leaf


def matches(query: Query, leaf: Leaf) -> bool:
    """Whether `leaf` is one of those asked for."""
    return (
        (query.since is None or leaf.at >= query.since)
        and (query.until is None or leaf.at < query.until)
        and (not query.kinds or leaf.kind in query.kinds)
        and query.workload in ("", leaf.workload, workload_name(leaf.workload))
        and query.incident in ("", leaf.incident)
    )


def find_leaves(store: LeafStore, query: Query) -> Iterator[tuple[int, Leaf]]:
    """(index, leaf) of the leaves of `store` that match, in order. Raises InputError at a leaf that is none: the store was altered."""
    for index, data in store.find(query):
        yield index, parse_leaf(data)
