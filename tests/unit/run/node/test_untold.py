"""More changes than one verdict tells one by one are told as a number as soon as they are seen, also when single paths rang."""

from __future__ import annotations

import time

from intact.compare.judge import MAX_FINDINGS
from intact.model.seam import Report
from intact.observe.ports import Rings
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.trees import file

NOW = 1000.0
"""Time stands still: nothing is due but what rang."""
ADDED = tuple(file(b"/etc/added%d" % number, b"by nobody") for number in range(MAX_FINDINGS + 500))


class RungOnce(Bell):
    rings = Rings()

    def wait(self, timeout_s: float) -> Rings:
        rings, self.rings = self.rings, Rings()
        return rings


def test_what_is_beyond_the_bound_of_a_verdict_is_counted_at_once_when_single_paths_rang() -> None:
    bell, eyes, reports = RungOnce(), Eyes(), list[Report]()
    flow = NodeFlow(
        node="n1",
        list_running=lambda: [WEB],
        runtime_changed=lambda: False,
        doorbell=bell,
        eyes=eyes,
        baselines=Shelf(),
        send=reports.append,
        clock=lambda: NOW,
        steady=lambda: NOW,
    )

    def told() -> list[int]:
        """Of each verdict, how many paths it tells: one by one and as numbers."""
        verdicts = [verdict for report in reports for verdict in report.verdicts if verdict.scope.value == "drift"]
        return [len(verdict.findings) + sum(one.count for one in verdict.aggregates) for verdict in verdicts]

    def step_until_told(count: int) -> None:
        deadline = time.monotonic() + 60
        while count not in told():
            assert time.monotonic() < deadline, told()
            flow.step()
            time.sleep(0.001)

    step_until_told(0)
    eyes.present = ADDED
    bell.rings = Rings(dirty={b"/upper": frozenset(one.path for one in ADDED)})
    step_until_told(len(ADDED))
