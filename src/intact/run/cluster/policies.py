"""The policies in force: what is declared in the cluster, parsed. One that does not parse governs nothing, and says why.

In: the declared objects, whenever they change. Out: `Policy` records, and each change of one. Thread-safe. Never half applies a policy.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from intact.adapters.cluster.bodies import instant
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.kinds import Kind
from intact.adapters.cluster.objects import Objects
from intact.decide.govern import govern
from intact.decide.grammar import parse_policy
from intact.model.errors import InputError, IntactError
from intact.model.policy import Mode, Policy, Purpose

log = structlog.get_logger()

SHOW_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPolicy:
    """A policy object: parsed, or with the problem why it is not in force. `spec` is what was declared."""

    kind: Kind
    namespace: str
    name: str
    generation: int
    spec: Mapping[str, Any]
    policy: Policy | None
    problem: str = ""


Change = tuple[KnownPolicy | None, KnownPolicy | None]
"""A policy before and after; None where there was or is none."""


class PolicyBook:
    """`declared` gives all objects there are; `on_change` is told each change, from the thread that calls `refresh`, and may take locks of
    its own: whoever holds those reads the book without waiting for it."""

    def __init__(
        self, declared: Callable[[], Iterable[tuple[Kind, Mapping[str, Any]]]], *, on_change: Callable[[Change], None] = lambda _: None
    ) -> None:
        self._declared = declared
        self._on_change = on_change
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._known: dict[tuple[str, str, str], KnownPolicy] = {}

    def refresh(self) -> None:
        """Reads what is declared now."""
        with self._refreshing:
            after = {_key(known): known for known in (_read(kind, one) for kind, one in self._declared())}
            with self._lock:
                before, self._known = self._known, after
            for key in sorted(before.keys() | after.keys()):
                if before.get(key) != after.get(key):
                    self._on_change((before.get(key), after.get(key)))

    def all(self) -> tuple[Policy, ...]:
        """Those in force."""
        with self._lock:
            return tuple(known.policy for known in self._known.values() if known.policy is not None)

    def known(self) -> tuple[KnownPolicy, ...]:
        with self._lock:
            return tuple(self._known.values())


def show_policies(book: PolicyBook, cache: ClusterCache, objects: Objects, stop: threading.Event) -> None:
    """Tells each policy's author whether it is in force and on how many pods, until `stop` is set."""
    since: dict[tuple[str, str, str, bool], str] = {}
    while True:
        in_force = book.all()
        governed = Counter(str(govern(pod.namespace, pod.labels, in_force)) for pod in cache.all_pods())
        for known in book.known():
            pods = governed[str(known.policy)] if known.policy else 0
            try:
                objects.put_policy_status(
                    known.kind,
                    known.name,
                    known.namespace,
                    generation=known.generation,
                    pods=pods,
                    problem=known.problem,
                    changed_at=since.setdefault((known.kind.kind, known.namespace, known.name, known.policy is None), instant(time.time())),
                    now=time.time(),
                )
            except IntactError as error:
                log.info("policy_status_not_written", policy=known.name, reason=str(error))
        if stop.wait(SHOW_EVERY_S):
            return


_STRICTNESS = {Mode.OFF: 0, Mode.OBSERVE: 1, Mode.ENFORCE: 2}


def is_weaker(change: Change) -> bool:
    """Whether a policy that was deleted, broken or turned down asks for less than before: its mode does less (without one, pods are
    observed), what builds do is the work of its pods now, or an image may be signed by somebody else than before, or by nobody."""
    before, after = (known.policy if known else None for known in change)
    was, now = (_STRICTNESS[policy.mode if policy else Mode.OBSERVE] for policy in (before, after))
    wanted, wants = ({one.who for one in policy.signed_by} if policy else set() for policy in (before, after))
    builds, built = (policy is not None and policy.workload is Purpose.BUILD for policy in (after, before))
    return now < was or (builds and not built) or (bool(wanted) and (not wants or not wants <= wanted))


def _read(kind: Kind, one: Mapping[str, Any]) -> KnownPolicy:
    meta = one["metadata"]
    policy, problem = None, ""
    try:
        policy = parse_policy(one, kind.kind)
    except InputError as error:
        problem = str(error)
    return KnownPolicy(
        kind=kind,
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        generation=meta.get("generation", 0),
        spec=one.get("spec") or {},
        policy=policy,
        problem=problem,
    )


def _key(known: KnownPolicy) -> tuple[str, str, str]:
    return known.kind.kind, known.namespace, known.name
