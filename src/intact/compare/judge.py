"""Differences become a verdict: findings worth telling, numbers for the rest, and what could not be looked at.

In come a baseline, an observation and its differences; out comes one bounded `Verdict`. Judged before any policy: what people expect, and
what they do about the rest, is for `decide`. Never drops anything unsaid: what is beyond a bound is counted under its rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from intact.model.container import Container
from intact.model.derivation import Derivation
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Aggregate, Change, Difference, Finding, State, Verdict
from intact.model.layer import Baseline
from intact.model.observation import Observation, Scope, Unobserved
from intact.model.patterns import escape
from intact.model.seam import PlannedLevel

from .nearby import Nearby
from .raised import Raised
from .rules import DERIVABLE, RULES, Judge

MAX_FINDINGS = 1000
"""Findings told one by one: the gravest first, then those of the default rules, then in order of path. The rest is counted under its
rule."""
MAX_CANDIDATES = 2000
"""Added files of one look of which it is asked where they come from; the others are told as if it were not known."""
MAX_PATTERNS = 64
MAX_UNOBSERVED = 1000
ONLY_WEAK = "content was compared by MD5 or SHA-1 alone: files that differ can have the same values"
NOT_READ = "same size as in the image, content not read"


def judge(
    baseline: Baseline,
    observation: Observation,
    differences: Iterable[Difference],
    derivations: Mapping[bytes, Derivation] | None = None,
    *,
    levels: Sequence[PlannedLevel] = (),
) -> Verdict:
    """The verdict on one look. `derivations` says of added files where they come from, as far as that is known, `levels` what is told
    besides what the default rules tell. `at` and the findings' `observed_at` are when the look began."""
    verdict = _Making(
        container=observation.container,
        baseline=baseline,
        scope=observation.scope,
        at=observation.started_at,
        judge=_make_judge(baseline, observation, derivations or {}, levels),
    )
    verdict.take_unobserved(observation.unobserved)
    if observation.unlisted and not observation.unobserved:
        verdict.take_unobserved([Unobserved(path=b"/", reason=f"{observation.unlisted} entries were counted and not listed")])
    if observation.silent:
        verdict.counts["data-added", "/**"] += observation.silent
    if baseline.stated.is_weak:
        verdict.take_unobserved([Unobserved(path=b"/", reason=ONLY_WEAK)])
    for difference in differences:
        verdict.take(difference)
    return verdict.finish(compared=len(observation.present) + len(observation.absent))


def find_candidates(
    baseline: Baseline, observation: Observation, differences: Iterable[Difference], *, levels: Sequence[PlannedLevel] = ()
) -> tuple[Entry, ...]:
    """The added files that would be findings, and may be derived from the image: at most `MAX_CANDIDATES` of them."""
    judge = _make_judge(baseline, observation, {}, levels)
    return tuple(islice((found for difference in differences if (found := _derivable(judge, difference)) is not None), MAX_CANDIDATES))


def name_rules(
    baseline: Baseline, observation: Observation, differences: Iterable[Difference], derivations: Mapping[bytes, Derivation] | None = None
) -> dict[bytes, str]:
    """Path → the default rule that decides about its difference, also where that rule is silent."""
    judge = _make_judge(baseline, observation, derivations or {}, ())
    return {one.path: judge.consider(one).rule for one in differences if one.change is not Change.UNREAD}


def _derivable(judge: Judge, difference: Difference) -> Entry | None:
    actual = difference.actual
    if difference.change is not Change.ADDED or actual is None or actual.kind is not Kind.FILE or actual.digest is None:
        return None
    spoken = judge.consider(difference)
    return actual if spoken.level is not None and spoken.rule in DERIVABLE else None


def _make_judge(
    baseline: Baseline, observation: Observation, derivations: Mapping[bytes, Derivation], levels: Sequence[PlannedLevel]
) -> Judge:
    return Judge(
        baseline,
        observation.scope,
        observation.targets,
        runnable=frozenset(observation.runnable),
        derivations=derivations,
        raised=Raised(levels, observation.started_at),
    )


def judge_layers(
    container: Container, baseline: Baseline, differences: Iterable[Difference], unobserved: Sequence[Unobserved], now: float
) -> Verdict:
    """The verdict on a container's read-only layers: `differences` of `compare_layer` over all of them. `now` is when the reading began."""
    verdict = _Making(container=container, baseline=baseline, scope=Scope.LAYERS, at=now, judge=Judge(baseline, Scope.LAYERS))
    verdict.take_unobserved(unobserved)
    for difference in differences:
        verdict.take(difference)
    return verdict.finish(compared=sum(len(layer) for layer in baseline.layers))


@dataclass(slots=True)
class _Making:
    """A verdict in the making; holds at most twice its bounds."""

    container: Container
    baseline: Baseline
    scope: Scope
    at: float
    judge: Judge
    baseline_root: Digest = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    unobserved: dict[bytes, str] = field(default_factory=dict)
    unobserved_more: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    more: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.baseline_root = self.baseline.root

    def take_unobserved(self, found: Iterable[Unobserved]) -> None:
        for one in found:
            if one.path in self.unobserved:
                if one.reason and self.unobserved[one.path] in ("", NOT_READ):
                    self.unobserved[one.path] = one.reason
            elif len(self.unobserved) < MAX_UNOBSERVED:
                self.unobserved[one.path] = one.reason
            else:
                self.unobserved_more += 1

    def take(self, difference: Difference) -> None:
        if "unread" in difference.fields:
            reason = difference.reason or ("" if difference.path in self.unobserved else NOT_READ)
            self.take_unobserved([Unobserved(path=difference.path, reason=reason)])
        if difference.change is Change.UNREAD:
            return
        spoken = self.judge.consider(difference)
        if spoken.level is None:
            self._count(spoken.rule, difference)
            return
        self.findings.append(
            Finding(
                container=self.container,
                difference=difference,
                level=spoken.level,
                rule=spoken.rule,
                scope=self.scope,
                baseline_root=self.baseline_root,
                grade=self.baseline.grade,
                observed_at=self.at,
            )
        )
        if len(self.findings) >= 2 * MAX_FINDINGS:
            self._prune()

    def finish(self, *, compared: int) -> Verdict:
        self._prune()
        if self.unobserved_more:
            self.unobserved[b"/"] = f"{self.unobserved_more} more paths could not be looked at"
        unobserved = tuple(Unobserved(path=path, reason=reason) for path, reason in sorted(self.unobserved.items()))
        aggregates = [Aggregate(pattern=pattern, rule=rule, count=count) for (rule, pattern), count in sorted(self.counts.items())]
        aggregates += [Aggregate(pattern="/**", rule=rule, count=count) for rule, count in sorted(self.more.items())]
        return Verdict(
            container=self.container,
            state=State.DRIFTED if self.findings else State.UNOBSERVED if unobserved else State.INTACT,
            scope=self.scope,
            findings=tuple(self.findings),
            aggregates=tuple(aggregates),
            unobserved=unobserved,
            baseline_root=self.baseline_root,
            grade=self.baseline.grade,
            untold=self.more.total(),
            compared=compared,
            at=self.at,
        )

    def _prune(self) -> None:
        """Of one level, what only the plan tells comes last: no crowd of it hides what the default rules tell."""
        self.findings.sort(key=lambda finding: (-finding.level, not RULES[finding.rule].levels, finding.difference.path))
        for finding in self.findings[MAX_FINDINGS:]:
            self.more[finding.rule] += 1
        del self.findings[MAX_FINDINGS:]

    def _count(self, rule: str, difference: Difference) -> None:
        pattern = summarise_path(difference.path, self.judge.nearby)
        if (rule, pattern) not in self.counts and len(self.counts) >= MAX_PATTERNS:
            pattern = "/**"
        self.counts[rule, pattern] += 1


def summarise_path(path: bytes, image: Baseline | Nearby) -> str:
    """The pattern under which `path` is counted: what lies in a directory of the image is `directory/*.ext`, what lies deeper
    `directory/**`; below the root directory itself the first name is kept. It can be offered as an `expect`."""
    above = image.nearest_directory(path)
    below = path[len(above.rstrip(b"/")) + 1 :]
    first, _, deeper = below.partition(b"/")
    if above == b"/":
        return f"{escape(b'/' + first)}/**" if deeper else escape(path)
    if deeper:
        return f"{escape(above)}/**"
    stem, dot, extension = first.rpartition(b".")
    suffix = f".{extension.decode()}" if dot and stem and extension.isalpha() and len(extension) <= 8 else ""
    return f"{escape(above)}/*{suffix}"
