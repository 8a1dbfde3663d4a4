"""What the nodes that run an image say of it, held against each other: who agrees, and who is wrong where that can be told. Pure.

In: for one image, which root each node has, and the cluster's own root if there is one. Out: what is corroborated, which nodes are odd, and
which disagree without anybody knowing who is right.

1. Only roots over the same algorithms are compared: of others nothing can be said.
2. Where the cluster has a root of its own, whoever has another is odd.
3. Otherwise only nodes are compared that run the image under a common declared name: a node cannot drag in the image of others by naming
   its key. A node that has two roots for one image is odd.
4. All the same: corroborated, if enough nodes computed it themselves.
5. Not the same: a root is right if at least `MAJORITY` nodes and more than half of all nodes of the cluster have it; the others are odd. So
   long as fewer than half of all nodes lie, no honest node is called odd. Otherwise it cannot be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from intact.model.digest import Digest

MAJORITY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one node has of the image: `root` over files known by `algorithms`. `computed`: by itself, not sent to it. `names` are the
    images that its pods declare where it runs."""

    node: str
    root: Digest
    algorithms: str
    computed: bool
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What the cluster itself holds the image to be."""

    root: Digest
    algorithms: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """`odd` nodes are wrong; `undecided` ones are not all right. `why` is the evidence, for people: who has which root."""

    corroborated: frozenset[tuple[str, Digest]] = frozenset()
    """(node, root): what the node has is what enough nodes computed."""
    odd: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    why: str = ""


AGREED = Agreement()


def weigh(claims: Collection[Claim], own: Own | None, *, minimum: int, nodes: int) -> Agreement:
    """`minimum` nodes corroborate; `nodes` is how many the cluster has."""
    corroborated: set[tuple[str, Digest]] = set()
    odd: set[str] = set()
    undecided: set[str] = set()
    why: list[str] = []
    for algorithms in sorted({one.algorithms for one in claims}):  # 1
        alike = [one for one in claims if one.algorithms == algorithms]
        if own is not None and own.algorithms == algorithms:  # 2
            wrong = [one for one in alike if one.root != own.root]
            odd |= {one.node for one in wrong}
            if wrong:
                why.append(f"the controller computed {own.root}, {_tell(wrong)}")
            continue
        for group in _group_by_name(alike):  # 3
            two_faced = _find_two_faced(group)
            odd |= two_faced
            if two_faced:
                why.append(_tell([one for one in group if one.node in two_faced]))
            group = [one for one in group if one.node not in two_faced]
            by_root = {root: [one for one in group if one.root == root] for root in sorted({one.root for one in group})}
            right = next(iter(by_root)) if len(by_root) == 1 else _find_majority(by_root, nodes)
            if right is not None:  # 4
                if len({one.node for one in by_root[right] if one.computed}) >= minimum:
                    corroborated |= {(one.node, right) for one in by_root[right]}
                odd |= {one.node for one in group if one.root != right}
            else:  # 5
                undecided |= {one.node for one in group}
            if len(by_root) > 1:
                why.append(_tell(group))
    return Agreement(
        corroborated=frozenset(corroborated),
        odd=tuple(sorted(odd)),
        undecided=tuple(sorted(undecided - odd)),
        why="; ".join(why),
    )


def _group_by_name(claims: Sequence[Claim]) -> list[list[Claim]]:
    """Those that share a declared name, directly or through others."""
    groups: list[tuple[set[str], list[Claim]]] = []
    for one in claims:
        joined = [group for group in groups if group[0] & one.names]
        names, members = set(one.names), [one]
        for group in joined:
            names |= group[0]
            members = group[1] + members
            groups.remove(group)
        groups.append((names, members))
    return [members for _, members in groups]


def _find_two_faced(claims: Iterable[Claim]) -> set[str]:
    first: dict[str, Digest] = {}
    return {one.node for one in claims if first.setdefault(one.node, one.root) != one.root}


def _find_majority(by_root: dict[Digest, list[Claim]], nodes: int) -> Digest | None:
    counts = {root: len({one.node for one in claims}) for root, claims in by_root.items()}
    return next((root for root, count in counts.items() if count >= MAJORITY and 2 * count > nodes), None)


def _tell(claims: Iterable[Claim]) -> str:
    """`node1 and node3 have sha256:…, node2 has sha256:…`, those that most nodes have first."""
    by_root: dict[Digest, set[str]] = {}
    for one in claims:
        by_root.setdefault(one.root, set()).add(one.node)
    ranked = sorted(by_root.items(), key=lambda item: (-len(item[1]), item[0]))
    parts = [f"{_name_nodes(nodes)} {'has' if len(nodes) == 1 else 'have'} {root}" for root, nodes in ranked[:3]]
    return ", ".join(parts) + (f" and {len(ranked) - 3} more roots" if len(ranked) > 3 else "")


def _name_nodes(nodes: Iterable[str], most: int = 3) -> str:
    ordered = sorted(nodes)
    if len(ordered) > most:
        return f"{', '.join(ordered[:most])} and {len(ordered) - most} more nodes"
    return " and ".join((", ".join(ordered[:-1]), ordered[-1])) if len(ordered) > 1 else ordered[0]
