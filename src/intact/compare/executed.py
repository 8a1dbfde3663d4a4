"""What was executed out of the writable layer becomes a verdict, however short its life was.

In come a baseline, the paths of which the kernel said that they were executed, and a look at those paths afterwards. Out comes a `Verdict`
of scope LIVE on these executions alone. Pure. A file of the image that was copied up and is as the image says is no finding.

1. A file that is there and differs from the image is told.
2. One that is gone and never was the image's is told: nothing else is left of it. Of one that the image has, its absence is told anyway.
3. One of the image that is as the image says is told if what was executed under its path is known to have been another file.
4. One that could not be looked at is Unobserved, as the look says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from intact.model.entry import Entry
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Baseline
from intact.model.observation import Observation, Scope

RULE = "not-of-the-image-executed"
_DIFFERS = {Change.ADDED: "executed, added", Change.MODIFIED: "executed, changed", Change.TYPE: "executed, changed"}
GONE = "executed, and gone before it could be looked at"
REPLACED = "executed, and replaced by the image's file before it could be looked at"


def judge_executed(
    baseline: Baseline,
    executed: Iterable[bytes],
    observation: Observation,
    differences: Iterable[Difference],
    replaced: Collection[bytes] = (),
) -> Verdict:
    """The verdict on the executions of the paths `executed`; `observation` is a look at these paths, `differences` what it showed; the
    files that were executed as `replaced` are not there any more."""
    by_path = {one.path: one for one in differences}
    seen = {entry.path for entry in observation.present} | {one.path for one in observation.unobserved}
    findings = []
    for path in sorted(set(executed)):
        difference = by_path.get(path)
        if difference is not None and difference.change in _DIFFERS:  # 1
            findings.append(_tell(baseline, observation, path, _DIFFERS[difference.change], difference.actual))
        elif path not in seen and baseline.find(path) is None:  # 2
            findings.append(_tell(baseline, observation, path, GONE, None))
        elif path in replaced and path in seen and difference is None and baseline.find(path) is not None:  # 3
            findings.append(_tell(baseline, observation, path, REPLACED, None))
    unobserved = tuple(one for one in observation.unobserved if one.path in set(executed))  # 4
    return Verdict(
        container=observation.container,
        state=State.DRIFTED if findings else State.UNOBSERVED if unobserved else State.INTACT,
        scope=Scope.LIVE,
        findings=tuple(findings),
        unobserved=unobserved,
        baseline_root=baseline.root,
        grade=baseline.grade,
        compared=len(by_path),
        at=observation.started_at,
    )


def _tell(baseline: Baseline, observation: Observation, path: bytes, reason: str, actual: Entry | None) -> Finding:
    return Finding(
        container=observation.container,
        difference=Difference(path=path, change=Change.EXECUTED, expected=baseline.find(path), actual=actual, reason=reason),
        level=Level.HIGH,
        rule=RULE,
        scope=Scope.LIVE,
        baseline_root=baseline.root,
        grade=baseline.grade,
        observed_at=observation.started_at,
    )
