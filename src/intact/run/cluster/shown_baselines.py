"""`ImageBaseline` objects: what is known of every image that runs, is kept or was declared, for people.

In: what nodes run, the cluster's baselines, what people declared. Out: one object an image, written when something changed and at most
every ten seconds; removed when nobody runs the image, nothing keeps its baseline and nobody declared one.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

import structlog

from intact.adapters.cluster.bodies import ShownBaseline
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.cluster.objects import Objects
from intact.model.digest import Digest
from intact.model.errors import IntactError
from intact.model.layer import Grade
from intact.model.seam import Coverage, NodeStatus

from .baselines import ClusterBaselines
from .library import Known
from .supplied import Judgement, read_key

log = structlog.get_logger()

SHOW_EVERY_S = 3.0
MAX_SHOWN = 5_000
"""Images that are shown; what else runs is in the record and in `NodeIntegrity`."""
Condition = tuple[str, bool, str, str, float]


@dataclass(slots=True)
class _Use:
    """Where an image runs, and what the nodes say of its baseline."""

    pods: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    said: list[Coverage] = field(default_factory=list)


class ShownBaselines:
    """`statuses` is what the nodes said last, `dispute_of` who has which root of an image (empty: they agree), `judged` what became of a
    declaration, `existing` the images of all ImageBaseline objects that there are."""

    def __init__(
        self,
        *,
        cache: ClusterCache,
        library: ClusterBaselines,
        objects: Objects,
        statuses: Callable[[], Iterable[NodeStatus]],
        dispute_of: Callable[[Digest], str],
        judged: Callable[[Digest], Judgement | None],
        existing: Callable[[], Collection[Digest]],
    ) -> None:
        self._cache, self._library, self._objects, self._statuses = cache, library, objects, statuses
        self._dispute_of, self._judged, self._existing = dispute_of, judged, existing
        self._since: dict[tuple[Digest, str, bool], float] = {}
        self._fixed: dict[Digest, tuple[Known, ShownBaseline]] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; at most a twentieth of a processor is spent on it."""
        took_s = 0.0
        while not stop.wait(max(SHOW_EVERY_S, 20 * took_s)):
            began = time.thread_time()
            self.show(time.time())
            took_s = time.thread_time() - began

    def show(self, now: float) -> None:
        """Writes what changed. What could not be written is tried again the next time."""
        uses = self._find_uses()
        existing = set(self._existing())
        shown = 0
        for key in sorted({*uses, *existing}, key=lambda key: (key not in uses, key)):
            try:
                made = self.describe(key, uses.get(key, _Use()), now)
                if made is not None and shown < MAX_SHOWN:
                    shown += 1
                    self._objects.put_baseline(made, now)
                elif key in existing:
                    self._objects.delete_baseline(key)
            except IntactError as error:
                log.info("baseline_not_shown", key=str(key), reason=str(error))
        alive = {*uses, *existing}
        self._fixed = {key: fixed for key, fixed in self._fixed.items() if key in alive}
        self._since = {place: at for place, at in self._since.items() if place[0] in alive}

    def describe(self, key: Digest, use: _Use, now: float) -> ShownBaseline | None:
        """What is shown of the image; None where nobody runs it, nothing keeps its baseline and nobody declared one."""
        fixed, judged = self._describe_fixed(key), self._judged(key)
        if fixed is None and judged is None and not use.said:
            return None
        owners = {self._cache.facts(uid) for uid in use.pods}
        conditions = [self._is_agreed(key, now)]
        if judged is not None:
            accepted = judged.grade is not None
            conditions.append(("Supplied", accepted, judged.reason, judged.message, self._turned(key, "Supplied", accepted, now)))
        shown = _describe_said(key, use.said) if fixed is None else _raise_grade(fixed, use.said)
        return replace(
            shown,
            pods=len(use.pods),
            nodes=len(use.nodes),
            workloads=tuple(sorted({f"{o.workload.kind} {o.namespace}/{o.workload.name}" for o in owners if o is not None})),
            conditions=(self._is_ready(key, shown.grade, now), *conditions),
        )

    def _describe_fixed(self, key: Digest) -> ShownBaseline | None:
        """What the cluster's own baseline says, read again only when what is known of it was looked up again."""
        known = self._library.known(key)
        if known is None:
            return None
        before = self._fixed.get(key)
        if before is not None and before[0] is known:
            return before[1]
        baseline = self._library.get(key)
        if baseline is None:
            return None
        made = ShownBaseline(
            key=key,
            root=baseline.root,
            grade=baseline.grade.title,
            algorithms=baseline.algorithms.names,
            source=baseline.source,
            signers=self._library.signers(key),
            platform=baseline.platform,
            aliases=baseline.aliases,
            layers=len(baseline.layers),
            entries=sum(len(layer) for layer in baseline.layers),
            size_bytes=self._library.size_bytes(baseline),
        )
        self._fixed[key] = known, made
        return made

    def _find_uses(self) -> dict[Digest, _Use]:
        uses: dict[Digest, _Use] = defaultdict(_Use)
        for status in self._statuses():
            for covered in status.coverage:
                container, key = covered.container, covered.container.image_key
                pod = container.pod
                if key is None or pod is None or self._cache.node_of(pod.uid) != status.node:
                    continue
                use = uses[key]
                use.nodes.add(status.node)
                use.pods.add(pod.uid)
                if covered.baseline_root is not None:
                    use.said.append(covered)
        return uses

    def _is_ready(self, key: Digest, grade: str, now: float) -> Condition:
        """Whether the cluster has a baseline of its own, or agreed upon, to answer for."""
        ready = grade in _ANSWERED_FOR
        message = "" if ready else "the cluster has no baseline of it: each node compares with its own"
        return "Ready", ready, grade or "NoBaseline", message, self._turned(key, "Ready", ready, now)

    def _is_agreed(self, key: Digest, now: float) -> Condition:
        dispute = self._dispute_of(key)
        return "Agreed", not dispute, "NodesDisagree" if dispute else "Agreed", dispute, self._turned(key, "Agreed", not dispute, now)

    def _turned(self, key: Digest, type: str, holds: bool, now: float) -> float:
        self._since.pop((key, type, not holds), None)
        return self._since.setdefault((key, type, holds), now)


def existing_keys(declared: DeclaredObjects) -> set[Digest]:
    """The images of all ImageBaseline objects that there are."""
    return {key for _, one in declared.declared() if (key := read_key(one["spec"])) is not None}


_ANSWERED_FOR = frozenset(grade.title for grade in (Grade.SIGNED, Grade.VERIFIED, Grade.CORROBORATED, Grade.SUPPLIED))


def _raise_grade(fixed: ShownBaseline, said: Iterable[Coverage]) -> ShownBaseline:
    """Where nodes computed the very same, that may be worth more than what it rests on itself."""
    best = max((one.grade for one in said if one.baseline_root == fixed.root), key=_rank, default="")
    return replace(fixed, grade=best) if _rank(best) > _rank(fixed.grade) else fixed


def _describe_said(key: Digest, said: Collection[Coverage]) -> ShownBaseline:
    """What nodes say of an image of which the cluster has no baseline: the best that any of them says."""
    best = max(said, key=lambda one: (_rank(one.grade), str(one.baseline_root)), default=None)
    if best is None:
        return ShownBaseline(key=key)
    count = len({one.container.node for one in said if one.baseline_root == best.baseline_root})
    source = f"{count} nodes" if count > 1 else f"node {best.container.node}"
    return ShownBaseline(key=key, root=best.baseline_root, grade=best.grade, algorithms=tuple(best.algorithms.split()), source=source)


def _rank(title: str) -> int:
    return next((int(grade) for grade in Grade if grade.title == title), 0)
