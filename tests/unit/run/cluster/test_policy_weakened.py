"""What counts as a policy that was weakened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.adapters.cluster.kinds import POLICY
from intact.model.policy import Mode, Policy, Purpose, Signatory
from intact.run.cluster.policies import KnownPolicy, is_weaker

CI, OTHER = Signatory(key="ci"), Signatory(key="other")
WORKFLOW = Signatory(identity="workflow", issuer="forge")


def known(policy: Policy | None) -> KnownPolicy:
    return KnownPolicy(kind=POLICY, namespace="shop", name="web", generation=1, spec={}, policy=policy)


@pytest.mark.parametrize(
    ("before", "after", "weaker"),
    [
        (Policy(name="p", mode=Mode.ENFORCE), Policy(name="p"), True),
        (Policy(name="p"), Policy(name="p", mode=Mode.ENFORCE), False),
        (Policy(name="p", mode=Mode.OFF), None, False),
        (Policy(name="p"), Policy(name="p", workload=Purpose.BUILD), True),
        (Policy(name="p", workload=Purpose.BUILD), Policy(name="p", workload=Purpose.BUILD), False),
        (Policy(name="p", workload=Purpose.BUILD), None, False),
        (Policy(name="p", signed_by=(CI,)), Policy(name="p"), True),
        (Policy(name="p", signed_by=(CI,)), None, True),
        (Policy(name="p", signed_by=(CI,)), Policy(name="p", signed_by=(CI, OTHER)), True),
        (Policy(name="p", signed_by=(CI,)), Policy(name="p", signed_by=(OTHER,)), True),
        (Policy(name="p", signed_by=(CI, OTHER)), Policy(name="p", signed_by=(CI,)), False),
        (Policy(name="p"), Policy(name="p", signed_by=(CI,)), False),
        (Policy(name="p", signed_by=(WORKFLOW,)), Policy(name="p", signed_by=(replace(WORKFLOW, issuer="other"),)), True),
        (Policy(name="p", signed_by=(WORKFLOW,)), Policy(name="p", signed_by=(replace(WORKFLOW, identity="w*"),)), True),
        (Policy(name="p", signed_by=(WORKFLOW,)), Policy(name="p", signed_by=(replace(WORKFLOW, name="another"),)), False),
        (Policy(name="p", signed_by=(WORKFLOW, CI)), Policy(name="p", signed_by=(WORKFLOW,)), False),
    ],
)
def test_less_than_before(before: Policy, after: Policy | None, weaker: bool) -> None:
    assert is_weaker((known(before), known(after) if after else None)) is weaker
