"""What the containers of a cluster start with: learnt from what nodes say, kept for each template, and taken out of verdicts.

In: verdicts and coverage of nodes, each with what the cluster knows of the pod. Out: the verdict without the differences that a start
profile excuses, so that nobody is alarmed and nothing is cured for them; and what is to be recorded. Deciding is `decide.start`.

1. When a pod was first ready with a container is remembered: a pod that fails its probe later and recovers does not start again.
2. A container is a witness once its node looked at it after its pod was ready, and what it had started with is all heard. Of a template
   that has few, its node is asked to look, and again where that came too early or not at all.
3. Where a profile is new or says something else, the pods that were believed until then are looked at again.
4. A file that may be a lock or half-written is held back for a moment, and its node looks again: what is still there then counts. Held
   back, it is recorded.

`take_wishes` tells which pods are to be looked at because of 2, 3 and 4.

Guarded by the flow's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from intact.audit.record import Leaf
from intact.audit.steps import record_start
from intact.decide.ports import StartStore
from intact.decide.start import (
    MAX_WITNESSES,
    PASSING_S,
    UNCHECKED,
    WHOLE_SECOND_S,
    Known,
    Word,
    describe_start,
    end_start,
    find_ready,
    know,
    learn,
    may_pass,
    tell_moment,
    tell_place,
)
from intact.model.container import Container
from intact.model.finding import Change, Finding, Level, State, Verdict
from intact.model.incident import PodFacts, Workload
from intact.model.observation import Scope
from intact.model.seam import Coverage
from intact.model.start import Moment, StartEntry, StartProfile, Template, Witness, find_template

MAX_CONTAINERS = 50_000
MAX_PROFILES = 5_000
TOUCH_EVERY_S = 86_400.0
KEPT_S = 30 * 86_400.0
"""Of a template that no pod was made from for so long, nothing is remembered."""
ASK_EVERY_S = 10.0
"""How long a look that was asked for is waited for, before it is asked for again."""


@dataclass(slots=True)
class _Begun:
    """One container, and what it started with as far as that was heard: each entry with when it was made."""

    template: Template
    pod: PodFacts
    ready_at: float | None = None
    entries: dict[StartEntry, float] = field(default_factory=dict)
    is_heard: bool = False
    is_settled: bool = False
    asked_until: float = 0.0
    """Until when no other look is asked for, by our own clock (2)."""
    varied: frozenset[StartEntry] = frozenset()
    frozen: frozenset[StartEntry] = frozenset()
    """What it was seen to start with, from the moment on at which that was known."""
    held: dict[bytes, float] = field(default_factory=dict)
    """Since when a path that may pass is held back, by our own clock (4)."""


class Starts:
    def __init__(self, store: StartStore) -> None:
        self._store = store
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._profiles: OrderedDict[Template, StartProfile] = OrderedDict()
        self._touched: dict[Template, float] = {}
        self._wishes: set[tuple[Workload, str, float]] = set()
        self._believed: set[Template] = set()
        """Of which something was let pass that another profile would not: to be looked at again (3)."""

    def take_wishes(self) -> frozenset[tuple[Workload, str, float]]:
        """(workload, UID, seconds) of pods that are to be looked at in so many seconds; without a UID all of the workload's. Each is told
        once."""
        wishes, self._wishes = frozenset(self._wishes), set()
        return wishes

    def weigh(self, verdict: Verdict, pod: PodFacts, *, is_spread: Callable[[], bool], now: float) -> tuple[Verdict, list[Leaf]]:
        """`verdict` without what a profile excuses, and what is to be recorded of that. `is_spread` says whether the workload's pods are on
        several nodes."""
        template = find_template(verdict.container, pod)
        if template is None or verdict.scope is not Scope.DRIFT or verdict.state is State.UNOBSERVED:
            return verdict, []
        begun = self._begin(verdict.container.id, template, pod, verdict.container.started_at)
        begun.is_heard = True
        if not verdict.findings:
            begun.entries, begun.held = {}, {}
            return verdict, self._settle(begun, pod, verdict.at, is_spread, now)
        profile = self._profile(template)
        known = know(profile, is_spread=is_spread(), pod_uid=pod.uid)
        known = replace(known, own=known.own | begun.frozen)
        kept: list[Finding] = []
        words: dict[Word, list[Finding]] = {word: [] for word in Word}
        passing: dict[bytes, float] = {}
        fresh: set[StartEntry] = set()
        entries: dict[StartEntry, float] = {}
        for finding in verdict.findings:
            moment = self._tell_moment(finding, begun, pod)
            entry = describe_start(finding)
            if entry is not None and moment is not Moment.LATER:
                entries[entry] = max(_first_made(finding, entry, begun), finding.placed_at)
            word = known.say(finding, moment)
            if word is Word.COUNTS and entry is not None and entry.rule in UNCHECKED:
                word = known.say_unchecked(entry)
                fresh.add(entry)
            words[word].append(finding)
            if word is Word.DIFFERS:
                kept.append(replace(finding, level=max(finding.level, Level.MEDIUM)))
            if word is not Word.COUNTS:
                continue
            if may_pass(finding, moment, verdict.at):  # 4
                path = finding.difference.path
                passing[path] = begun.held.get(path, now)
                if now - passing[path] < PASSING_S:
                    continue
            kept.append(finding)
        begun.entries = entries
        self._learn_more(begun, pod, now)
        leaves = self._hold(begun, passing, verdict.findings, now)
        if words[Word.FIRST] or words[Word.VARIES]:
            self._believed.add(template)
        leaves += [*self._tell(begun, profile, words, now), *self._settle(begun, pod, verdict.at, is_spread, now)]
        self._learn_unchecked(begun, pod, fresh, known, now)
        if len(kept) == len(verdict.findings) and not words[Word.DIFFERS]:
            return verdict, leaves
        state = verdict.state if kept or verdict.untold else State.UNOBSERVED if verdict.unobserved else State.INTACT
        return replace(verdict, findings=tuple(kept), state=state), leaves

    def is_settled(self, container: Container, now: float) -> bool:
        """Whether it is known what the container started with."""
        begun = self._begun.get(container.id)
        if begun is None or not begun.is_settled or begun.held:
            return False
        self._touch(begun.template, now)
        return True

    def settle(self, covered: Coverage, pod: PodFacts, *, is_spread: Callable[[], bool], now: float) -> list[Leaf]:
        """A node still sees of a container what it told: if its pod was ready by then, it is a witness. What is to be recorded."""
        template = find_template(covered.container, pod)
        if template is None:
            return []
        begun = self._begin(covered.container.id, template, pod, covered.container.started_at)
        if begun.held:  # 4
            self._wishes.add((pod.workload, pod.uid, 0.0))
        if covered.verdict == State.INTACT.value or (covered.differs and begun.is_heard):
            return self._settle(begun, pod, covered.verified_at, is_spread, now)
        if covered.differs:  # it was told to an earlier life of this process
            self._ask(begun, pod, now)
        return []

    def _learn_more(self, begun: _Begun, pod: PodFacts, now: float) -> None:
        """2. What a witness started with as well: its node may have said that it still looks before its last look was heard."""
        profile = self._profile(begun.template)
        own = next((one for one in profile.witnesses if one.pod_uid == pod.uid), None)
        if own is None or begun.ready_at is None:
            return
        ended_at = end_start(begun.ready_at, pod)
        more = tuple(entry for entry, made_at in begun.entries.items() if made_at < ended_at and entry not in own.entries)
        if more:
            self._keep(learn(profile, replace(own, entries=more)), now)

    def _learn_unchecked(self, begun: _Begun, pod: PodFacts, entries: set[StartEntry], known: Known, now: float) -> None:
        """Bytecode that a witness has made since, not what became of it; where others have something else, all are looked at again."""
        profile = self._profile(begun.template)
        own = next((one for one in profile.witnesses if one.pod_uid == pod.uid), None)
        if own is None:
            return
        before = {entry.path for entry in own.entries if entry.rule in UNCHECKED}
        made = tuple(entry for entry in entries if entry.path not in before)
        learnt = learn(profile, replace(own, entries=made)) if made else profile
        if learnt != profile:
            self._keep(learnt, now)
            if any(known.unchecked.get(entry.path, frozenset()) - {entry.content} for entry in made):
                self._wishes.add((pod.workload, "", 0.0))

    def _hold(self, begun: _Begun, passing: dict[bytes, float], findings: tuple[Finding, ...], now: float) -> list[Leaf]:
        """4. What may pass is looked at again in a moment, and is in the record from the first."""
        fresh = passing.keys() - begun.held.keys()
        begun.held = passing
        if not fresh:
            return []
        self._wishes.add((begun.pod.workload, begun.pod.uid, PASSING_S + 1.0))
        held = [finding for finding in findings if finding.difference.path in fresh]
        return [record_start(self._profile(begun.template), verb="Held", pod=begun.pod, findings=held, now=now)]

    def _settle(self, begun: _Begun, pod: PodFacts, seen_at: float, is_spread: Callable[[], bool], now: float) -> list[Leaf]:
        """2. A container that was looked at after its pod was ready is a witness; one that was not yet is asked for."""
        if begun.is_settled or begun.ready_at is None:
            return []
        profile = self._profile(begun.template)
        if any(one.pod_uid == pod.uid for one in profile.witnesses):
            begun.is_settled = True
            return []
        surely_over_at = begun.ready_at + WHOLE_SECOND_S
        if seen_at <= surely_over_at:
            if len(profile.witnesses) < MAX_WITNESSES:
                self._ask(begun, pod, now, after_s=max(0.0, surely_over_at - now))
            return []
        begun.is_settled = True
        spread = is_spread()
        before = know(profile, is_spread=spread)
        ended_at = end_start(begun.ready_at, pod)
        entries = tuple(entry for entry, changed_at in begun.entries.items() if changed_at < ended_at)
        begun.frozen = frozenset(entries)
        profile = learn(profile, Witness(pod_uid=pod.uid, pod=pod.name, node=pod.node, entries=entries))
        after = know(profile, is_spread=spread)
        leaves: list[Leaf] = []
        if after.is_established and not profile.established_at:
            profile = replace(profile, established_at=now)
            if after.expected:
                leaves.append(record_start(profile, verb="Established", is_new=self._is_new(profile, after), now=now))
        self._keep(profile, now)
        is_more = bool(after.expected.keys() - before.expected.keys())
        if is_more or (after != before and begun.template in self._believed):  # 3
            self._wishes.add((pod.workload, "", 0.0))
        return leaves

    def _ask(self, begun: _Begun, pod: PodFacts, now: float, after_s: float = 0.0) -> None:
        """2. For a look in so many seconds."""
        if now >= begun.asked_until:
            begun.asked_until = now + after_s + ASK_EVERY_S
            self._wishes.add((pod.workload, pod.uid, after_s))

    def keep_house(self, now: float) -> None:
        self._store.forget_before(now - KEPT_S)

    def _begin(self, container_id: str, template: Template, pod: PodFacts, started_at: float) -> _Begun:
        begun = self._begun.get(container_id)
        if begun is None or begun.template != template:
            begun = self._begun[container_id] = _Begun(template=template, pod=pod)
            while len(self._begun) > MAX_CONTAINERS:
                self._begun.popitem(last=False)
        self._begun.move_to_end(container_id)
        ready_at = find_ready(started_at, pod)
        if ready_at is not None:  # 1
            begun.ready_at = ready_at if begun.ready_at is None else min(begun.ready_at, ready_at)
        return begun

    def _tell_moment(self, finding: Finding, begun: _Begun, pod: PodFacts) -> Moment:
        entry = describe_start(finding)
        changed_at = finding.changed_at if entry is None else _first_made(finding, entry, begun)
        moment = tell_moment(changed_at, finding.container.started_at, pod, begun.ready_at)
        return tell_place(moment, finding.placed_at, finding.container.started_at, pod, begun.ready_at)

    def _tell(self, begun: _Begun, profile: StartProfile, words: dict[Word, list[Finding]], now: float) -> list[Leaf]:
        """What people can read of what was let pass: the first time for a template, and what varies in each container."""
        leaves: list[Leaf] = []
        if words[Word.FIRST] and not profile.first_at:
            profile = replace(profile, first_at=now)
            self._keep(profile, now)
            leaves.append(record_start(profile, verb="First", pod=begun.pod, findings=words[Word.FIRST], now=now))
        varied = frozenset(filter(None, map(describe_start, words[Word.VARIES])))
        if varied - begun.varied:
            begun.varied |= varied
            leaves.append(record_start(profile, verb="Varies", pod=begun.pod, findings=words[Word.VARIES], now=now))
        return leaves

    def _is_new(self, profile: StartProfile, known: Known) -> bool:
        """Whether other templates of the same image were known, and none of them starts with all of this."""
        others = [one for one in self._store.of_image(profile.template.image) if one.template != profile.template and one.established_at]
        return bool(others) and not any(known.expected.keys() <= know(one, is_spread=False).expected.keys() for one in others)

    def _profile(self, template: Template) -> StartProfile:
        profile = self._profiles.get(template) or self._store.get(template) or StartProfile(template=template)
        self._remember(profile)
        return profile

    def _remember(self, profile: StartProfile) -> None:
        self._profiles[profile.template] = profile
        self._profiles.move_to_end(profile.template)
        while len(self._profiles) > MAX_PROFILES:
            gone, _ = self._profiles.popitem(last=False)
            self._touched.pop(gone, None)
            self._believed.discard(gone)

    def _keep(self, profile: StartProfile, now: float) -> None:
        self._remember(profile)
        self._touched[profile.template] = now
        self._store.save(profile, now)

    def _touch(self, template: Template, now: float) -> None:
        if now - self._touched.get(template, 0.0) >= TOUCH_EVERY_S:
            self._keep(self._profile(template), now)


def _first_made(finding: Finding, entry: StartEntry, begun: _Begun) -> float:
    """When the difference was made; a deletion that was heard of before is as old as it was then, and so is nothing else."""
    if finding.difference.change is not Change.DELETED or entry not in begun.entries or not begun.entries[entry]:
        return finding.changed_at
    return min(finding.changed_at, begun.entries[entry]) if finding.changed_at else begun.entries[entry]
