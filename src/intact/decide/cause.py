"""Why the containers of a workload differ from their image, with the evidence in words.

In come the findings an incident remembers, what was found earlier, which pods were replaced, and what could not be seen; out come a cause
and its explanation. A cure follows the cause, so a cause is never guessed: what cannot be told is `Unknown`.

1. Read-only layers that differ: `Node`. The node's copy of the image is bad; a fresh pod or another revision would start from the same
   bytes.
2. No finding, but matters that the controller itself holds: the cause of the gravest.
3. Something needed could not be observed: `Unknown`.
4. The same drift in two pods of one revision on two nodes: `Revision`.
5. The same drift again in a container that started after Intact had replaced a pod of the same revision for it: `Revision`.
6. Otherwise `Container`.

4 and 5 look at the findings of the gravest level alone: a harmless file that is the same in every pod does not make a web shell in one
of them come from the revision. Findings in doubted pods never make a `Revision`: a node that is not believed about an image cannot have a
whole workload changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from intact.model.entry import display_path
from intact.model.incident import Matter, Phase, Seen, Taken
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause

REPLACED = frozenset({Phase.RUNNING.value, Phase.SUCCEEDED.value, Phase.VERIFIED.value})
"""States of a RestartPod after which the pod may be taken to have been replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    cause: Cause
    why: str


def explain(
    seen: Sequence[Seen],
    recent: Sequence[Seen],
    taken: Sequence[Taken],
    unobserved: Sequence[str],
    *,
    matters: Sequence[Matter] = (),
    matter_count: int = 0,
    doubted: Collection[str] = (),
) -> Explained:
    """The cause of the drift in `seen`. `recent` are findings of earlier incidents of the workload, `taken` its actions, `unobserved` what
    was needed and could not be seen, `matters` the gravest first of the `matter_count` that the controller itself holds, `doubted` UIDs of
    pods whose node is not believed about them."""
    layers = [one for one in seen if one.scope is Scope.LAYERS]
    if layers:  # 1
        nodes = _list({one.node for one in layers})
        why = f"the read-only layers on {nodes} are not those of the image: {display_path(layers[0].path)} ({layers[0].change})"
        return Explained(cause=Cause.NODE, why=why)
    if matters and not seen:  # 2
        more = f"; and {matter_count - 1} more" if matter_count > 1 else ""
        return Explained(cause=matters[0].cause, why=matters[0].text + more)
    if unobserved:  # 3
        return Explained(cause=Cause.UNKNOWN, why=f"could not be observed: {_list(unobserved)}")
    top = max((one.level for one in seen), default=None)
    gravest = [one for one in seen if one.level is top and one.pod_uid not in doubted]
    spread = _find_spread(gravest)
    if spread:  # 4
        one = spread[0]
        pods, nodes = _list({s.pod for s in spread}), _list({s.node for s in spread})
        return Explained(cause=Cause.REVISION, why=f"{_name(one)} is the same in {pods} on {nodes}, revision {one.revision}")
    again = _find_again(gravest, recent, taken)
    if again is not None:  # 5
        why = f"{_name(again)} is back in {again.pod}, which started after another pod of revision {again.revision} was replaced for it"
        return Explained(cause=Cause.REVISION, why=why)
    pods = _list({one.pod for one in seen})
    if seen and all(one.scope is Scope.LIVE for one in seen):
        return Explained(cause=Cause.CONTAINER, why=f"what runs or is mounted in {pods} is not the image's; layers and baseline verify")
    return Explained(cause=Cause.CONTAINER, why=f"only the writable layer of {pods} differs; layers and baseline verify")  # 6


def _find_spread(seen: Sequence[Seen]) -> list[Seen]:
    """The findings of the first drift that is the same on two pods and two nodes of one revision."""
    groups: dict[tuple[str, str], list[Seen]] = {}
    for one in sorted(seen, key=lambda s: (-s.level, s.path, s.at, s.finding_id)):
        if one.signature and one.revision:
            groups.setdefault((one.signature, one.revision), []).append(one)
    for group in groups.values():
        if len({s.pod_uid for s in group}) > 1 and len({s.node for s in group}) > 1:
            return group
    return []


def _find_again(seen: Sequence[Seen], recent: Sequence[Seen], taken: Iterable[Taken]) -> Seen | None:
    replaced = {t.pod_uid: t.at for t in sorted(taken, key=lambda t: -t.at) if t.action is ActionKind.RESTART_POD and t.state in REPLACED}
    cured = [(s, replaced[s.pod_uid]) for s in (*recent, *seen) if s.pod_uid in replaced and s.signature and s.revision]
    since: dict[tuple[str, str], float] = {}
    for one, at in cured:
        key = (one.signature, one.revision)
        since[key] = min(at, since.get(key, at))
    for one in sorted(seen, key=lambda s: (-s.level, s.path, s.at, s.finding_id)):
        at_least = since.get((one.signature, one.revision))
        if at_least is not None and one.started_at > at_least and one.pod_uid not in replaced:
            return one
    return None


def _name(one: Seen) -> str:
    return f"{display_path(one.path, 200)} ({one.change})"


def _list(names: Iterable[str], most: int = 3) -> str:
    ordered = sorted(set(names))
    text = ", ".join(ordered[:most])
    return text if len(ordered) <= most else f"{text} and {len(ordered) - most} more"
