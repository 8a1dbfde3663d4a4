"""What is counted of a workload, and what of it people may want to declare as expected. Pure.

In: verdicts, of which only the numbers are looked at. Out: one record for each container of a workload, and suggestions. Never says that
anything is harmless: each suggestion says what it could hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from intact.model.counted import Counted, CountedDrift
from intact.model.finding import Aggregate
from intact.model.incident import Incident, Workload
from intact.model.patterns import escape

MAX_LINES = 128
MAX_PODS = 32
UID_LENGTH = 16
TOLD_AGAIN_S = 86_400.0
SCRATCH = "code-in-scratch"

COULD_HIDE = {
    "data-added": "any file there that is neither code nor configuration by its name and mode",
    "code-in-scratch": "code that was uploaded or dropped there, such as a web shell",
    "image-log-changed": "wiping of logs that came with the image",
    "image-directory-metadata": "who may write in these directories",
    "derived-from-image": "nothing: the same bytes are in the image",
    "runtime-stub": "nothing: there are no bytes",
    "mounted-below-volume": "mounts below a volume",
    "compiled-by-itself": "code planted by whoever can write where the service compiles",
    "volume-executed": "programs brought in by a volume",
    "added-to-volume": "programs put into a volume",
    "runtime-file-changed": "names that lead to other hosts",
    "image-file-changed": "changes of the image's own files, also by an attacker",
    "control-file-added": "accounts, keys, scheduled jobs and configuration that were planted",
    "code-added": "code that was planted beside the image's own",
    "bytecode-cache-added": "bytecode that is not what its source says",
    "not-of-the-image-executed": "any program that was brought in",
}
SILENT_ANYWAY = frozenset({"runtime-stub", "derived-from-image", "image-log-changed", "image-directory-metadata", "compiled-by-itself"})
"""What nobody needs to expect: it is no difference that could matter, and stays silent by its own rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One entry for `expect`: `told` if it raises alerts now, otherwise it is counted already."""

    rule: str
    pattern: str
    count: int
    pods: int
    told: bool
    could_hide: str


def add_counts(known: CountedDrift, aggregates: Iterable[Aggregate], pod_uid: str, now: float) -> CountedDrift:
    """`known` with what one look counted. The same look twice changes only when it was last seen."""
    lines = {(one.rule, one.pattern): one for one in known.counted}
    for one in aggregates:
        key, pod = (one.rule, one.pattern), pod_uid[:UID_LENGTH]
        before = lines.get(key)
        if before is None:
            lines[key] = Counted(rule=one.rule, pattern=one.pattern, count=one.count, pods=(pod,), first_at=now, last_at=now)
            continue
        pods = before.pods if pod in before.pods or len(before.pods) >= MAX_PODS else tuple(sorted((*before.pods, pod)))
        lines[key] = replace(before, count=max(before.count, one.count), pods=pods, last_at=max(before.last_at, now))
    ranked = sorted(lines.values(), key=lambda one: (one.rule != SCRATCH, -one.last_at, -one.count, one.rule, one.pattern))
    return replace(known, counted=tuple(sorted(ranked[:MAX_LINES], key=lambda one: (one.rule, one.pattern))))


def find_scratch(known: CountedDrift, now: float) -> tuple[Counted, ...]:
    """Code in scratch directories that is to be told now: at most once a day, and only what was seen since the last time."""
    if known.scratch_told_at and now - known.scratch_told_at < TOLD_AGAIN_S:
        return ()
    return tuple(one for one in known.counted if one.rule == SCRATCH and one.last_at > known.scratch_told_at)


def choose_latest(
    counted: Sequence[CountedDrift], incidents: Sequence[Incident]
) -> tuple[tuple[CountedDrift, ...], tuple[Incident, ...], int]:
    """What is known of the latest workload of each kind and name, and how many earlier ones, deleted since and made anew, are left out."""
    seen: dict[Workload, float] = {}
    for drift in counted:
        seen[drift.workload] = max((seen.get(drift.workload, 0.0), *(line.last_at for line in drift.counted)))
    for incident in incidents:
        seen[incident.workload] = max(seen.get(incident.workload, 0.0), incident.last_seen)
    ordered = sorted(seen, key=lambda workload: (seen[workload], workload.uid))
    latest = set({(one.kind, one.namespace, one.name): one for one in ordered}.values())
    return (
        tuple(one for one in counted if one.workload in latest),
        tuple(one for one in incidents if one.workload in latest),
        len(seen) - len(latest),
    )


def find_pods(counted: Iterable[CountedDrift], incidents: Iterable[Incident]) -> frozenset[str]:
    """The beginnings of the UIDs of the pods in which it was seen, as far as they are remembered."""
    by_count = {pod for drift in counted for line in drift.counted for pod in line.pods}
    return frozenset(by_count | {one.pod_uid[:UID_LENGTH] for incident in incidents for one in incident.affected})


def suggest(counted: Sequence[CountedDrift], incidents: Sequence[Incident]) -> tuple[Suggestion, ...]:
    """What could be expected: first what raised alerts in at least two pods and looks the same in all, then what is only counted."""
    made: list[Suggestion] = []
    pods: dict[tuple[str, bytes], set[str]] = {}
    for incident in incidents:
        for seen in incident.seen:
            if seen.signature and seen.rule in COULD_HIDE:
                pods.setdefault((seen.rule, seen.path), set()).add(seen.pod_uid)
    for (rule, path), uids in sorted(pods.items()):
        if len(uids) > 1:
            pattern = escape(path)
            made.append(Suggestion(rule=rule, pattern=pattern, count=1, pods=len(uids), told=True, could_hide=COULD_HIDE[rule]))
    for one in sorted((line for drift in counted for line in drift.counted), key=lambda c: (c.rule, c.pattern)):
        hides = COULD_HIDE.get(one.rule)
        if one.rule not in SILENT_ANYWAY and hides is not None:
            made.append(Suggestion(rule=one.rule, pattern=one.pattern, count=one.count, pods=len(one.pods), told=False, could_hide=hides))
    return tuple(made)
