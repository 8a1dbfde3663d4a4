"""The last look at every container, as long as its pod is spoken of: what a proof and the end of an incident rest on.

In: verdicts. Out: since when a pod is intact, and the verdicts themselves, without their findings. Thread-safe. Kept in memory only: after
a restart nothing counts as seen, and the nodes are asked to look again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from intact.model.container import Container
from intact.model.finding import State, Verdict
from intact.model.observation import Scope
from intact.model.seam import Coverage

MAX_PODS = 50_000


@dataclass(frozen=True, slots=True)
class _Look:
    verdict: Verdict
    clean: bool
    calm: bool
    differs: bool


def pod_key(container: Container) -> str:
    """The UID of the container's pod; a container without one stands for itself."""
    return container.pod.uid if container.pod is not None else container.id


_OF_FILES = (Scope.DRIFT, Scope.TREE)


class Looks:
    """The pod that was spoken of longest ago is forgotten first, beyond `MAX_PODS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pods: OrderedDict[str, dict[tuple[str, Scope], _Look]] = OrderedDict()
        self._on_node: dict[str, set[str]] = {}
        self._drifted: dict[str, set[tuple[str, str]]] = {}
        """By node, the pods and containers that it calls drifted."""
        self._pending: dict[str, set[str]] = {}

    def note(self, verdict: Verdict, *, clean: bool, calm: bool = False, differs: bool = False) -> None:
        """`clean`: intact, or different only as the policy expects; `calm`: that, or at level Info besides. `differs`: its node said so,
        whatever of it is expected."""
        key = pod_key(verdict.container)
        with self._lock:
            looks = self._pods.setdefault(key, {})
            looks[verdict.container.id, verdict.scope] = _Look(replace(verdict, findings=(), aggregates=()), clean, clean or calm, differs)
            self._pods.move_to_end(key)
            self._on_node.setdefault(verdict.container.node, set()).add(key)
            while len(self._pods) > MAX_PODS:
                self._pods.popitem(last=False)

    def keep(self, node: str, coverage: Iterable[Coverage]) -> None:
        """What `node` runs now: looks at containers that are gone count no more, and a pod of which a container was not looked at yet does
        not count as intact."""
        coverage = tuple(coverage)
        alive = {covered.container.id for covered in coverage}
        with self._lock:
            self._drifted[node] = {(pod_key(c.container), c.container.id) for c in coverage if c.differs}
            self._pending[node] = {pod_key(covered.container) for covered in coverage if covered.verdict == "Pending"}
            for key in tuple(self._on_node.get(node, ())):
                looks = {where: look for where, look in self._pods.get(key, {}).items() if where[0] in alive}
                if looks:
                    self._pods[key] = looks
                else:
                    self._pods.pop(key, None)
                    self._on_node[node].discard(key)

    def has_seen(self, container: Container) -> bool:
        """Whether the container's writable layer was seen, in its last look."""
        with self._lock:
            look = self._pods.get(pod_key(container), {}).get((container.id, Scope.DRIFT))
        return look is not None and look.verdict.state is not State.UNOBSERVED

    def expects(self, container: Container) -> bool:
        """Whether it was told how the container differs, and all that was told of it, in whatever scope, opens no incident."""
        with self._lock:
            looks = [look for (id, _), look in self._pods.get(pod_key(container), {}).items() if id == container.id]
        return any(look.differs for look in looks) and all(look.calm for look in looks)

    def confirm(self, container: Container, at: float) -> Verdict | None:
        """A node says that it looked again at `at` and found what it told before. The clean verdict this confirms, if there is one."""
        with self._lock:
            looks = self._pods.get(pod_key(container), {})
            look = looks.get((container.id, Scope.DRIFT))
            if look is None or not look.clean or at <= look.verdict.at:
                return None
            looks[container.id, Scope.DRIFT] = replace(look, verdict=replace(look.verdict, at=at))
            return look.verdict

    def has(self, pod_uid: str) -> bool:
        with self._lock:
            return pod_uid in self._pods

    def intact_at(self, pod_uid: str) -> float | None:
        """The start of the last look that found all containers of the pod clean; None if there was none, or a later look was not, or if
        its node calls one drifted and did not tell yet how: it told that to an earlier life of this process."""
        with self._lock:
            told = dict(self._pods.get(pod_uid, {}))
            drifted = {id for pairs in self._drifted.values() for key, id in pairs if key == pod_uid}
            if any(pod_uid in pending for pending in self._pending.values()):
                return None
        looks = tuple(told.values())
        if not drifted <= {id for id, scope in told if scope in _OF_FILES}:
            return None
        if not looks or not all(look.clean for look in looks):
            return None
        return min((look.verdict.at for look in looks if look.verdict.scope in _OF_FILES), default=None)

    def verdicts(self, pod_uid: str) -> tuple[Verdict, ...]:
        with self._lock:
            return tuple(look.verdict for look in self._pods.get(pod_uid, {}).values())
