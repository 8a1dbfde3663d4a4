"""Start profiles: what the entry points of one pod template do before their pods are ready, learnt from several pods. Pure.

In: when a difference was made, what the pod's readiness says, and what other pods of the template started with. Out: whether it is
expected. A profile is a value; learning is the same whatever the order in which pods are heard.

1. Only differences of rules that name content count here. What runs, grants rights, is mounted, or lies in a read-only layer is never
   excused, nor is anything that was not made at the start.
2. A profile is established when two pods have become ready and said what they started with; on two nodes, if the workload's pods are on
   several.
3. What at least two of them have alike is expected of every pod: kind, mode, owner and attributes are the same, and the digest or the set
   of lines.
4. What no two of them have alike, though path and shape are the same, varies: host keys, salts. It is silent only at the start, and never
   for programs or what is started by itself.
5. A file below a directory that is not the image's and that changed later was made at the start, and may have been put there later: what
   several pods have alike, or this very pod was seen to start with, is expected all the same, and nothing else.
6. Until the profile is established, differences at the start are told once, without an alert. Afterwards what is not in it counts at once;
   only an added file that may be a lock, or half of a file that is put in place by renaming it, is given a few seconds to go, and one that
   was replaced before anybody could read it a few seconds to hold still.
7. Bytecode that no node could hold against its source is held against other pods, whenever it was made: interpreters write it when a module
   is first used. Alike in two pods it is expected; alone it is told as 6 says; other than in another pod, or than before, it is graver.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Finding
from intact.model.incident import PodFacts
from intact.model.observation import Scope
from intact.model.start import Moment, StartEntry, StartProfile, Witness

MAX_START_S = 600.0
"""Nothing that happens later than this after a container's start is taken for its start, ready or not."""
WHOLE_SECOND_S = 1.0
"""Kubernetes cuts the time of a condition down to whole seconds (metav1.Time)."""
MAX_WITNESSES = 6
MAX_ENTRIES = 400
ENOUGH = 2

EXCUSABLE = frozenset(
    {
        "image-file-changed",
        "control-file-added",
        "code-added",
        "bytecode-cache-added",
        "code-in-scratch",
        "data-added",
        "image-log-changed",
        "image-directory-metadata",
    }
)
"""The rules about what files contain, where a policy raises them also those that only count: all that a profile can excuse."""
PASSING_S = 20.0
"""How long tools hold a lock on /etc/passwd, or write a key under another name."""
UNCHECKED = frozenset({"bytecode-cache-added"})
NEVER_VARYING = frozenset({"code-added", "bytecode-cache-added", "code-in-scratch"})


class Word(StrEnum):
    """What a profile says of a difference."""

    EXPECTED = "Expected"
    VARIES = "Varies"
    """Expected, with a content of its own in each pod."""
    FIRST = "First"
    """Made at the start, and nobody knows yet whether other pods do the same."""
    DIFFERS = "Differs"
    """Other pods have something else there, and nobody can tell which is right."""
    COUNTS = "Counts"
    """It is judged as if there were no profile."""


def tell_moment(changed_at: float, started_at: float, pod: PodFacts, ready_at: float | None = None) -> Moment:
    """When a difference made at `changed_at` happened, seen from a container that started at `started_at` in `pod`. `ready_at` is when the
    pod was first ready with this container, where somebody remembers it. All times are of the node's clock: its kubelet writes the pod's
    conditions.

    1. What is not known is later. 2. Nothing is a start for ever. 3. The start ends as `end_start` says. 4. A pod that is not ready and was
    not since the container started is starting; its kubelet may have said nothing of it yet. 5. A condition that is older than the
    container, or a pod that was ready since and is not now, leaves it unclear.
    """
    if changed_at <= 0 or started_at <= 0 or pod.is_ready is None or (pod.is_ready and pod.ready_since <= 0):  # 1
        return Moment.LATER
    if changed_at > started_at + MAX_START_S:  # 2
        return Moment.LATER
    ready_at = find_ready(started_at, pod) if ready_at is None else ready_at
    if ready_at is not None:  # 3
        return Moment.START if changed_at < end_start(ready_at, pod) else Moment.LATER
    if not pod.is_ready and pod.ready_since <= started_at + WHOLE_SECOND_S:  # 4
        return Moment.START
    return Moment.UNCLEAR  # 5


def tell_place(moment: Moment, placed_at: float, started_at: float, pod: PodFacts, ready_at: float | None = None) -> Moment:
    """5. `moment`, of a difference that was put where it is no earlier than at `placed_at` (0: where it was made)."""
    if moment is not Moment.START or not placed_at:
        return moment
    return moment if tell_moment(placed_at, started_at, pod, ready_at) is Moment.START else Moment.UNCLEAR


def end_start(ready_at: float, pod: PodFacts) -> float:
    """When the start of a pod is over that was ready at `ready_at`, in whole seconds: what happened in that second may have come before it,
    and fast services are ready within it, so that the whole of it counts. Not for a pod of which no probe says when it is ready."""
    return ready_at + (WHOLE_SECOND_S if pod.is_probed else 0.0)


def find_ready(started_at: float, pod: PodFacts) -> float | None:
    """Since when the pod is ready with a container that started at `started_at`; None if it is not, or that was with an earlier one."""
    return pod.ready_since if pod.is_ready and pod.ready_since >= math.floor(started_at) else None


def describe_start(finding: Finding) -> StartEntry | None:
    """The difference as a profile remembers it; None for what no profile can excuse (1), and for a file whose content nobody read."""
    difference = finding.difference
    actual = difference.actual
    is_file = actual is not None and actual.kind is Kind.FILE
    if not _is_excusable(finding) or (is_file and actual is not None and actual.digest is None):
        return None
    state = actual and (actual.kind.value, actual.mode, actual.uid, actual.gid, actual.target, actual.device, actual.xattrs)
    return StartEntry(
        path=difference.path,
        shape=hashlib.sha256(repr((difference.change.value, state)).encode()).hexdigest()[:32],
        content=str(actual.digest) if actual is not None and is_file else "",
        lines=str(finding.lines or ""),
        rule=finding.rule,
        may_vary=_is_data(actual) and finding.rule not in NEVER_VARYING,
    )


def _is_excusable(finding: Finding) -> bool:
    return finding.rule in EXCUSABLE and finding.scope in (Scope.DRIFT, Scope.TREE)


def _is_data(entry: Entry | None) -> bool:
    """Whether it is a file that nobody can execute."""
    return entry is not None and entry.kind is Kind.FILE and not entry.mode & 0o111


def may_pass(finding: Finding, moment: Moment, seen_at: float) -> bool:
    """6. Whether the finding may be over in a moment: of a file that was changed at the start, just before it was seen, and was added, or
    replaced before anybody could read it. Never of a program, nor of code."""
    difference = finding.difference
    actual = difference.actual
    is_fresh = moment is Moment.START and seen_at - finding.changed_at < PASSING_S  # below 0: it was gone when it was dated
    if not is_fresh or not _is_excusable(finding) or finding.rule in NEVER_VARYING or actual is None or not _is_data(actual):
        return False
    return difference.change is Change.ADDED or actual.digest is None


def learn(profile: StartProfile, witness: Witness) -> StartProfile:
    """`profile` with what one more pod, that became ready, had started with. Told twice, or in another order, it is the same."""
    entries = _bound(witness.entries)
    known = {one.pod_uid: one for one in profile.witnesses}
    before = known.get(witness.pod_uid)
    if before is not None:
        entries = _bound((*before.entries, *entries))
    known[witness.pod_uid] = replace(min(before or witness, witness, key=lambda w: (w.node, w.pod)), entries=entries)
    return replace(profile, witnesses=tuple(known[uid] for uid in sorted(known)[:MAX_WITNESSES]))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a profile knows of one path and shape: contents and sets of lines that enough pods have, and whether it varies."""

    alike: frozenset[str]
    varies: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A profile read for judging: `expected` by path and shape."""

    is_established: bool
    expected: Mapping[tuple[bytes, str], Expected]
    own: frozenset[StartEntry] = frozenset()
    """What the pod that is judged was seen to start with."""
    unchecked: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    """7. The contents of bytecode, by path."""
    shared: frozenset[tuple[bytes, str]] = frozenset()
    """7. (path, content) of bytecode that enough pods have."""

    def say(self, finding: Finding, moment: Moment) -> Word:
        """What the profile says of a finding that was made at `moment`."""
        entry = describe_start(finding)
        if entry is None or moment is Moment.LATER:  # 1
            return Word.COUNTS
        is_own = moment is Moment.UNCLEAR and entry in self.own  # 5
        if not self.is_established:  # 2, 6
            return Word.FIRST if moment is Moment.START or is_own else Word.COUNTS
        if is_own:
            return Word.EXPECTED
        expected = self.expected.get((entry.path, entry.shape))
        if expected is None:
            return Word.COUNTS
        if expected.alike & set(_values(entry)):  # 3
            return Word.EXPECTED
        return Word.VARIES if expected.varies and entry.may_vary and moment is Moment.START else Word.COUNTS  # 4

    def say_unchecked(self, entry: StartEntry) -> Word:
        """7. What the profile says of bytecode that nobody could check."""
        if (entry.path, entry.content) in self.shared:
            return Word.EXPECTED
        return Word.DIFFERS if self.unchecked.get(entry.path, frozenset()) - {entry.content} else Word.FIRST


def know(profile: StartProfile, *, is_spread: bool, pod_uid: str = "") -> Known:
    """All that `profile` says, of the pod `pod_uid` if one is judged. `is_spread`: the workload's pods are on several nodes, so that one
    node's word is not enough (2).

    3 and 4: for each path and shape, what enough pods have alike, and whether it is another in each.
    """
    held: dict[tuple[bytes, str], list[tuple[Witness, StartEntry]]] = {}
    for witness in profile.witnesses:
        for entry in witness.entries:
            held.setdefault((entry.path, entry.shape), []).append((witness, entry))
    expected: dict[tuple[bytes, str], Expected] = {}
    for place, entries in held.items():
        by_value: dict[str, list[Witness]] = {}
        for witness, entry in entries:
            for value in _values(entry):
                by_value.setdefault(value, []).append(witness)
        alike = frozenset(value for value, witnesses in by_value.items() if _are_enough(witnesses, is_spread))
        differ = all(len({one.pod_uid for one in witnesses}) == 1 for witnesses in by_value.values())
        varies = differ and all(entry.may_vary for _, entry in entries) and _are_enough([one for one, _ in entries], is_spread)
        if alike or varies:
            expected[place] = Expected(alike, varies)
    own = frozenset(entry for witness in profile.witnesses if witness.pod_uid == pod_uid for entry in witness.entries)
    bytecode: dict[tuple[bytes, str], list[Witness]] = {}
    for witness in profile.witnesses:
        for entry in witness.entries:
            if entry.rule in UNCHECKED:
                bytecode.setdefault((entry.path, entry.content), []).append(witness)
    unchecked: dict[bytes, set[str]] = {}
    for path, content in bytecode:
        unchecked.setdefault(path, set()).add(content)
    return Known(
        is_established=_are_enough(profile.witnesses, is_spread),
        expected=expected,
        own=own,
        unchecked={path: frozenset(contents) for path, contents in unchecked.items()},
        shared=frozenset(place for place, witnesses in bytecode.items() if _are_enough(witnesses, is_spread)),
    )


def _values(entry: StartEntry) -> tuple[str, ...]:
    """What makes two entries of one shape alike: one of these is the same. What has no content is alike by its shape."""
    if not entry.content:
        return ("",)
    return (f"content {entry.content}", f"lines {entry.lines}") if entry.lines else (f"content {entry.content}",)


def _bound(entries: Iterable[StartEntry]) -> tuple[StartEntry, ...]:
    """At most `MAX_ENTRIES`, bytecode last: the same whatever came first."""
    return tuple(sorted(set(entries), key=lambda entry: (entry.rule in UNCHECKED, entry))[:MAX_ENTRIES])


def _are_enough(witnesses: Iterable[Witness], is_spread: bool) -> bool:
    found = tuple(witnesses)
    return len({one.pod_uid for one in found}) >= ENOUGH and len({one.node for one in found}) >= (ENOUGH if is_spread else 1)
