"""What a declared build does is counted and tells nobody; what gives rights or leaves the container still does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.decide.build import MAX_PATTERNS, fold_build
from intact.decide.expect import is_clean
from intact.model.finding import Finding, State, Verdict
from intact.model.observation import Scope
from intact.model.policy import Policy
from tests.unit.decide.cases import found, pod

POLICY = Policy(name="p")


def verdict_of(*findings: Finding) -> Verdict:
    return Verdict(container=findings[0].container, state=State.DRIFTED, scope=Scope.DRIFT, findings=findings)


def finding(rule: str, path: bytes = b"/usr/lib/x/y.py") -> Finding:
    return replace(found(pod("a", "n1"), path=path).finding, rule=rule)


def test_the_work_of_a_build_is_counted_and_clean() -> None:
    rules = ("image-file-changed", "control-file-added", "code-added", "not-of-the-image-executed")
    folded = fold_build(
        verdict_of(*(finding(rule) for rule in rules), finding("code-added", b"/opt/a.py"), finding("code-added", b"/lone"))
    )
    assert folded.findings == () and is_clean(folded, POLICY, 0.0)
    counts = {(one.rule, one.pattern): one.count for one in folded.aggregates}
    assert counts == {**{(rule, "/usr/**"): 1 for rule in rules}, ("code-added", "/opt/**"): 1, ("code-added", "/lone"): 1}


@pytest.mark.parametrize(
    "rule",
    ["privilege-bits", "device-node-added", "read-only-layer-changed", "mounted-over", "root-changed", "init-replaced", "what comes next"],
)
def test_rights_mounts_and_layers_count_in_a_build_too(rule: str) -> None:
    bad = finding(rule)
    folded = fold_build(verdict_of(bad, finding("code-added")))
    assert folded.findings == (bad,) and not is_clean(folded, POLICY, 0.0)


def test_a_build_in_a_thousand_directories_is_told_in_a_few_numbers() -> None:
    folded = fold_build(verdict_of(*(finding("code-added", b"/d%d/x.py" % number) for number in range(900))))
    assert len(folded.aggregates) <= MAX_PATTERNS + 1 and sum(one.count for one in folded.aggregates) == 900
