"""Cross-node truth: which root each node has of the images it runs, and what follows from that.

In: the coverage that nodes report, what the cluster knows of their pods, and its own baselines. Out: how far a node's root is to be
believed, the pods whose node is not believed about their image, and what is held against nodes. Thread-safe. Never acts, and never takes a
claim about an image in a container that the cluster did not put on that node.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from intact.decide.agreement import AGREED, Agreement, Claim, Own, weigh
from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.encoding import VERSION
from intact.model.finding import Level
from intact.model.incident import Matter, Workload
from intact.model.layer import Grade
from intact.model.policy import Cause
from intact.model.seam import Coverage

from .looks import pod_key

MAX_KEYS_PER_NODE = 1000
"""Images of one node that are held against others'; a node runs at most some hundred pods."""
UNDECLARED_PER_POD = 4
"""Containers of a pod that its specification does not name and that are believed to be there: its sandbox, and some for debugging."""
MIN_NODES = 2
CLUSTER = Workload(kind="Cluster", namespace="", name="nodes")
"""The subject of what is held against nodes of which nobody can tell which is wrong."""
COMPARED = frozenset({Grade.VERIFIED.title, Grade.SIGNED.title})
"""What a node says of a baseline that must be the image's own: computed from verified bytes, or signed. First sight may differ honestly."""


@dataclass(frozen=True, slots=True)
class _Image:
    """What a node has of one image: its claims, the pods that run it, and a name for people."""

    claims: frozenset[Claim]
    pods: frozenset[str]
    name: str


Declared = Mapping[str, Mapping[str, str]]
"""By pod UID: the images that the pod's specification declares, by container name."""


class Truth:
    """`own` gives the cluster's own root of an image; `nodes` how many nodes there are. `minimum` nodes corroborate. `is_supplied`: whether
    nodes may have a root from a baseline that people supplied; such a claim is not the node's own, and not held against anybody."""

    def __init__(
        self,
        *,
        own: Callable[[Digest], Own | None],
        nodes: Callable[[], int],
        minimum: int = MIN_NODES,
        is_supplied: Callable[[Digest], bool] = lambda root: False,
    ) -> None:
        self._own, self._node_count, self._minimum, self._is_supplied = own, nodes, minimum, is_supplied
        self._lock = threading.Lock()
        self._by_node: dict[str, dict[Digest, _Image]] = {}
        self._holders: dict[Digest, set[str]] = defaultdict(set)
        self._agreements: dict[Digest, Agreement] = {}

    def hear(self, node: str, coverage: Iterable[Coverage], declared: Declared) -> bool:
        """Takes in all that `node` says it runs now. Returns whether anything that is held changed."""
        images = _read_claims(node, (one for one in coverage if not self._is_peoples(one)), declared)
        with self._lock:
            before = self._by_node.get(node, {})
            changed = {key for key in before.keys() | images.keys() if before.get(key) != images.get(key)}
            if images:
                self._by_node[node] = images
            else:
                self._by_node.pop(node, None)
            for key in changed:
                (self._holders[key].add if key in images else self._holders[key].discard)(node)
            return self._weigh(changed)

    def keep(self, declared: Callable[[str], Declared]) -> bool:
        """Forgets what was claimed of pods that the cluster no longer has on that node, and weighs everything anew. Returns as `hear`."""
        with self._lock:
            for node, images in list(self._by_node.items()):
                pods = frozenset(declared(node))
                kept = {key: image for key, image in images.items() if image.pods & pods}
                for key in images.keys() - kept.keys():
                    self._holders[key].discard(node)
                if kept:
                    self._by_node[node] = kept
                else:
                    del self._by_node[node]
            return self._weigh(tuple(self._holders))

    def learn(self, key: Digest) -> bool:
        """The cluster's own baseline of `key` may be another than before. Returns as `hear`."""
        with self._lock:
            return self._weigh((key,)) if key in self._holders else False

    def is_corroborated(self, node: str, key: Digest, root: Digest) -> bool:
        with self._lock:
            return (node, root) in self._agreements.get(key, AGREED).corroborated

    def doubts(self, node: str, key: Digest) -> str:
        """Why `node` is not believed about the image; empty if it is."""
        with self._lock:
            found = self._agreements.get(key, AGREED)
        if node in found.odd:
            return f"its node has another baseline of the image: {found.why}"
        return f"nodes disagree about the image: {found.why}" if node in found.undecided else ""

    def dispute(self, key: Digest) -> str:
        """Who has which root of the image, where they are not the same; empty if they are."""
        with self._lock:
            return self._agreements.get(key, AGREED).why

    def is_odd(self, node: str, key: Digest) -> bool:
        with self._lock:
            return node in self._agreements.get(key, AGREED).odd

    def doubted_pods(self) -> frozenset[str]:
        """The UIDs of all pods whose node is odd or undecided about an image that they run."""
        with self._lock:
            return frozenset(
                uid
                for key, found in self._agreements.items()
                for node in (*found.odd, *found.undecided)
                for uid in self._by_node[node][key].pods
            )

    def images(self) -> dict[Digest, dict[str, _Image]]:
        """What every node has of every image."""
        with self._lock:
            return {key: {node: self._by_node[node][key] for node in nodes} for key, nodes in self._holders.items() if nodes}

    def matters(self, now: float) -> list[Matter]:
        """What is held against nodes now: one matter for each node and image, and for each image that nodes only disagree about."""
        with self._lock:
            made = []
            for key, found in self._agreements.items():
                for node in found.odd:
                    name = self._by_node[node][key].name
                    text = f"node {node} has another baseline of image {name} ({key}) than it is: {found.why}"
                    made.append(_matter(Workload(kind="Node", namespace="", name=node), key, Level.CRITICAL, text, (node,), now))
                if found.undecided:
                    name = self._by_node[found.undecided[0]][key].name
                    text = f"nodes disagree about image {name} ({key}), and it cannot be told which is wrong: {found.why}"
                    made.append(_matter(CLUSTER, key, Level.HIGH, text, found.undecided, now))
            return made

    def _is_peoples(self, covered: Coverage) -> bool:
        return covered.grade != Grade.VERIFIED.title and covered.baseline_root is not None and self._is_supplied(covered.baseline_root)

    def _weigh(self, keys: Iterable[Digest]) -> bool:
        is_changed = False
        for key in keys:
            holders = self._holders.get(key, set())
            if not holders:
                self._holders.pop(key, None)
                is_changed |= self._agreements.pop(key, None) is not None
                continue
            claims = frozenset().union(*(self._by_node[node][key].claims for node in holders))
            found = weigh(sorted(claims, key=repr), self._own(key), minimum=self._minimum, nodes=self._node_count())
            before = self._agreements.get(key, AGREED)
            is_changed |= (before.odd, before.undecided, before.why) != (found.odd, found.undecided, found.why)
            if found == AGREED:
                self._agreements.pop(key, None)
            else:
                self._agreements[key] = found
        return is_changed


def _matter(subject: Workload, key: Digest, level: Level, text: str, nodes: tuple[str, ...], now: float) -> Matter:
    return Matter(subject=subject, key=str(key), cause=Cause.NODE, level=level, text=text, at=now, nodes=nodes)


def _read_claims(node: str, coverage: Iterable[Coverage], declared: Declared) -> dict[Digest, _Image]:
    """What `node` claims of images, in containers that the cluster knows to be there: one image a container, and of a pod as many
    containers as it declares and `UNDECLARED_PER_POD` more."""
    claims: dict[Digest, set[Claim]] = {}
    names: dict[Digest, set[str]] = defaultdict(set)
    pods: dict[Digest, set[str]] = defaultdict(set)
    taken: set[tuple[str, str]] = set()
    undeclared: Counter[str] = Counter()
    told: list[tuple[Digest, Coverage]] = []
    for covered in coverage:
        container, key = covered.container, covered.container.image_key
        images = declared.get(pod_key(container))
        if key is None or covered.baseline_root is None or images is None or covered.grade not in COMPARED:
            continue
        if covered.table_version != VERSION:  # an agent of another release says nothing about this one's roots
            continue
        place = (pod_key(container), container.name)
        if place in taken or (key not in claims and len(claims) >= MAX_KEYS_PER_NODE):
            continue
        if container.name not in images:
            if undeclared[place[0]] >= UNDECLARED_PER_POD:
                continue
            undeclared[place[0]] += 1
        taken.add(place)
        claims.setdefault(key, set())
        names[key].add(_name(container, images))
        pods[key].add(place[0])
        told.append((key, covered))
    for key, covered in told:
        assert covered.baseline_root is not None
        claims[key].add(
            Claim(
                node=node,
                root=covered.baseline_root,
                algorithms=covered.algorithms,
                computed=covered.grade == Grade.VERIFIED.title,
                names=frozenset(names[key]),
            )
        )
    return {key: _Image(frozenset(found), frozenset(pods[key]), min(names[key])) for key, found in claims.items()}


def _name(container: Container, declared: Mapping[str, str]) -> str:
    """The image as the pod declares it: the cluster's word, not the node's."""
    return declared.get(container.name) or f"({container.name[:63]})"
