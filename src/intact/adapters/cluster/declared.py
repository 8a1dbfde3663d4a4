"""What people declare in the cluster, policies and baselines, as they declared it: kept as JSON, for whoever knows what it means.

In: calls of reflectors. Out: the declared objects without what the cluster adds, and a call when any of them changed. Thread-safe. Never
judges what is declared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from .api import Object
from .kinds import Kind


class DeclaredObjects:
    """`of(kind)` is the store for that kind's reflector. `on_change()` is called from a reflector's thread; it returns quickly."""

    def __init__(self, *, on_change: Callable[[], None] = lambda: None) -> None:
        self._lock = threading.Lock()
        self._on_change = on_change
        self._declared: dict[Kind, dict[tuple[str, str], Object]] = {}

    def of(self, kind: Kind) -> _OneKind:
        return _OneKind(self, kind)

    def declared(self) -> tuple[tuple[Kind, Object], ...]:
        """All of them: apiVersion, kind, name, namespace, generation and spec."""
        with self._lock:
            return tuple((kind, one) for kind, objects in self._declared.items() for one in objects.values())

    def change(self, kind: Kind, change: Callable[[dict[tuple[str, str], Object]], bool]) -> None:
        """Applies `change` to the objects of `kind`, and tells if it says that something changed."""
        with self._lock:
            changed = change(self._declared.setdefault(kind, {}))
        if changed:
            self._on_change()


class _OneKind:
    def __init__(self, store: DeclaredObjects, kind: Kind) -> None:
        self._store, self._kind = store, kind

    def replace_all(self, objects: Iterable[Object]) -> None:
        wanted = {_key(o): self._reduce(o) for o in objects}

        def change(known: dict[tuple[str, str], Object]) -> bool:
            changed = known != wanted
            known.clear()
            known.update(wanted)
            return changed

        self._store.change(self._kind, change)

    def upsert(self, one: Object) -> None:
        reduced = self._reduce(one)

        def change(known: dict[tuple[str, str], Object]) -> bool:
            changed = known.get(_key(one)) != reduced
            known[_key(one)] = reduced
            return changed

        self._store.change(self._kind, change)

    def remove(self, one: Object) -> None:
        self._store.change(self._kind, lambda known: known.pop(_key(one), None) is not None)

    def _reduce(self, one: Object) -> Object:
        metadata: dict[str, Any] = one["metadata"]
        kept = {key: metadata[key] for key in ("name", "namespace", "generation") if key in metadata}
        return {"apiVersion": self._kind.api_version, "kind": self._kind.kind, "metadata": kept, "spec": one.get("spec") or {}}


def _key(one: Object) -> tuple[str, str]:
    metadata = one["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])
