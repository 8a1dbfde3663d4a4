"""What a policy says of a finding: expected, or at which level it counts.

A finding and a policy in, a level or None out. The last `levels` entry that matches decides. An expectation excuses what it names, except:

* read-only layers that differ are never expected;
* what is executed or mounted only by an expectation whose `changes` name that: a place for data is not thereby one for programs;
* set-user-ID, set-group-ID and capabilities are excused only by an expectation that names the very path, without wildcards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.incident import Reported
from intact.model.observation import Scope
from intact.model.patterns import Patterns, escape
from intact.model.policy import Expectation, Policy

EXPLICIT_ONLY = frozenset({"privilege-bits", "device-node-added"})
"""Rules whose findings only an exactly named path can excuse."""
NAMED_ONLY = frozenset({Change.EXECUTED, Change.MOUNTED})
"""Changes that an expectation excuses only if it names them."""


def assess(finding: Finding, policy: Policy, now: float) -> Level | None:
    """The level at which `finding` counts under `policy`; None if it is expected at `now`."""
    if finding.scope is not Scope.LAYERS and any(_excuses(one, finding, now) for one in policy.expect):
        return None
    level = finding.level
    path, directory = finding.difference.path, _is_directory(finding.difference)
    for entry in policy.levels:
        if _compiled(entry.paths).match(path, directory=directory):
            level = entry.level
    return level


def select_counting(reported: Iterable[Reported], policy: Policy, now: float) -> tuple[Reported, ...]:
    """Those of `reported` that `policy` does not expect at `now`, each at the level it gives them: what is recorded and told."""
    weighed = ((one, assess(one.finding, policy, now)) for one in reported)
    return tuple(replace(one, finding=replace(one.finding, level=level)) for one, level in weighed if level is not None)


def is_clean(verdict: Verdict, policy: Policy, now: float) -> bool:
    """Whether a look found its container intact, or different only as expected, and could look everywhere."""
    match verdict.state:
        case State.INTACT:
            return True
        case State.UNOBSERVED:
            return False
        case State.DRIFTED:
            return (
                not verdict.unobserved and not verdict.untold and all(assess(finding, policy, now) is None for finding in verdict.findings)
            )


def is_calm(verdict: Verdict, policy: Policy, now: float) -> bool:
    """Whether a look found nothing that opens an incident, and could look everywhere: what counts is of level Info, and in no read-only
    layer."""
    if verdict.state is not State.DRIFTED or verdict.unobserved or verdict.untold:
        return is_clean(verdict, policy, now)
    levels = ((assess(finding, policy, now), finding.scope) for finding in verdict.findings)
    return all(level is None or (level is Level.INFO and scope is not Scope.LAYERS) for level, scope in levels)


def _excuses(expectation: Expectation, finding: Finding, now: float) -> bool:
    difference = finding.difference
    if expectation.until is not None and now >= expectation.until:
        return False
    if (expectation.changes or difference.change in NAMED_ONLY) and difference.change not in expectation.changes:
        return False
    if expectation.grows and not _grew(difference):
        return False
    if finding.rule in EXPLICIT_ONLY and escape(difference.path) not in expectation.paths:
        return False
    return _compiled(expectation.paths).match(difference.path, directory=_is_directory(difference))


def _grew(difference: Difference) -> bool:
    match difference.change, difference.expected, difference.actual:
        case Change.ADDED, _, Entry(kind=Kind.FILE):
            return True
        case Change.MODIFIED, Entry(kind=Kind.FILE) as expected, Entry(kind=Kind.FILE) as actual:
            return actual.size_bytes >= expected.size_bytes and not {"mode", "uid", "gid", "xattrs"} & set(difference.fields)
        case _:
            return False


def _is_directory(difference: Difference) -> bool:
    entry = difference.actual or difference.expected
    return entry is not None and entry.kind is Kind.DIRECTORY


@lru_cache(maxsize=1024)
def _compiled(paths: tuple[str, ...]) -> Patterns:
    return Patterns(paths)
