"""What a plan raises is told as soon as the plan is there, and no longer than it says so."""

from __future__ import annotations

import time

from intact.model.finding import Level, Verdict
from intact.model.seam import Plan, PlannedLevel, PodPlan, Report
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.trees import CONTAINER, file

POD = CONTAINER.pod.uid if CONTAINER.pod else CONTAINER.id


def raise_to(level: Level) -> Plan:
    levels = (PlannedLevel(paths=("/uploads/*.php",), level=level),)
    return Plan(etag=level.title, pods=(PodPlan(pod_uid=POD, levels=levels),))


def test_a_new_plan_is_followed_without_waiting_for_the_next_look() -> None:
    reports: list[Report] = []
    flow = NodeFlow(
        node="node-1",
        list_running=lambda: [WEB],
        runtime_changed=lambda: False,
        doorbell=Bell(),
        eyes=Eyes(present=(file(b"/uploads/x.php", b"<?php"),)),
        baselines=Shelf(),
        send=reports.append,
        clock=lambda: 1000.0,
        steady=lambda: 1000.0,
    )

    def say_next() -> Verdict:
        deadline = time.monotonic() + 60
        while not (verdicts := [verdict for report in reports for verdict in report.verdicts]):
            assert time.monotonic() < deadline
            flow.step()
            time.sleep(0.001)
        reports.clear()
        return verdicts[-1]

    assert [one.rule for one in say_next().aggregates] == ["code-in-scratch"]
    flow.apply_plan(raise_to(Level.HIGH))
    raised = say_next()
    assert [(one.rule, one.level) for one in raised.findings] == [("code-in-scratch", Level.HIGH)] and raised.aggregates == ()
    flow.apply_plan(raise_to(Level.INFO))
    assert say_next().findings == ()
