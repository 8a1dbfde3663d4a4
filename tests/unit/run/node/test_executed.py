"""What a container executes out of its writable layer faster than it can be looked at is counted, never dropped in silence."""

from __future__ import annotations

from intact.model.seam import Report
from intact.run.node.executed import ExecutedFiles
from intact.run.node.reporting import Reporter
from intact.run.node.roster import Roster
from intact.run.node.watched import MAX_WRITERS
from tests.unit.run.node.fakes import WEB, Eyes


def test_more_executions_than_can_be_remembered_are_told_as_lost() -> None:
    reports: list[Report] = []
    roster = Roster()
    roster.add(WEB)
    reporter = Reporter(node="n1", send=reports.append, clock=lambda: 1.0)
    executed = ExecutedFiles(roster=roster, eyes=Eyes(), reporter=reporter, steady=lambda: 1.0)
    executed.note(b"/upper", {b"/tmp/%d" % number: None for number in range(MAX_WRITERS)})
    reporter.tell_lost(2.0)
    assert reports == []
    executed.note(b"/upper", dict.fromkeys((b"/tmp/0", b"/tmp/x", b"/tmp/y")))
    reporter.tell_lost(3.0)
    assert [gap.events_lost for report in reports for gap in report.gaps] == [2]
