"""The policies of the cluster as they are now, parsed; one that does not parse governs nothing and says why in its status.

In: objects of two reflectors. Out: `Policy` records and what is to be shown of each. Thread-safe. Never half applies a policy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from intact.model.errors import InputError
from intact.model.policy import Policy

from .kinds import CLUSTER_POLICY, POLICY, Kind

Parse = Callable[[Mapping[str, Any], str], Policy]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPolicy:
    """A policy object: parsed, or with the problem why it is not in force. `spec` is its text as it was read."""

    kind: Kind
    namespace: str
    name: str
    generation: int
    spec: Mapping[str, Any]
    policy: Policy | None
    problem: str = ""


class PolicyCache:
    """`namespaced` and `clustered` are the stores for two reflectors. `on_change(before, after)` is called from their threads, each of the
    two None where there is no such policy."""

    def __init__(self, parse: Parse, *, on_change: Callable[[KnownPolicy | None, KnownPolicy | None], None] = lambda *_: None) -> None:
        self._parse = parse
        self._on_change = on_change
        self._lock = threading.Lock()
        self._known: dict[str, KnownPolicy] = {}
        self.namespaced = _Policies(self, POLICY)
        self.clustered = _Policies(self, CLUSTER_POLICY)

    def all(self) -> tuple[Policy, ...]:
        """Those in force."""
        with self._lock:
            return tuple(known.policy for known in self._known.values() if known.policy is not None)

    def known(self) -> tuple[KnownPolicy, ...]:
        with self._lock:
            return tuple(self._known.values())

    def put(self, kind: Kind, one: Mapping[str, Any]) -> None:
        meta = one["metadata"]
        policy, problem = None, ""
        try:
            policy = self._parse(one, kind.kind)
        except InputError as error:
            problem = str(error)
        fresh = KnownPolicy(
            kind=kind,
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            generation=meta.get("generation", 0),
            spec=one.get("spec") or {},
            policy=policy,
            problem=problem,
        )
        with self._lock:
            before = self._known.get(meta["uid"])
            self._known[meta["uid"]] = fresh
        if before is None or before.generation != fresh.generation:
            self._on_change(before, fresh)

    def drop(self, uid: str) -> None:
        with self._lock:
            before = self._known.pop(uid, None)
        if before is not None:
            self._on_change(before, None)

    def uids_of(self, kind: Kind) -> set[str]:
        with self._lock:
            return {uid for uid, known in self._known.items() if known.kind is kind}


class _Policies:
    def __init__(self, cache: PolicyCache, kind: Kind) -> None:
        self._cache, self._kind = cache, kind

    def replace_all(self, objects: Iterable[dict[str, Any]]) -> None:
        stale = self._cache.uids_of(self._kind)
        for one in objects:
            stale.discard(one["metadata"]["uid"])
            self._cache.put(self._kind, one)
        for uid in stale:
            self._cache.drop(uid)

    def upsert(self, one: dict[str, Any]) -> None:
        self._cache.put(self._kind, one)

    def remove(self, one: dict[str, Any]) -> None:
        self._cache.drop(one["metadata"]["uid"])
