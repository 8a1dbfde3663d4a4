"""A container that nobody can see into is never silent: it stands in the node's coverage, and in a verdict, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.adapters.linux.mounts import Unconfirmed, confirm_overlay, parse_mounts
from intact.model.container import Mounted, Running
from intact.model.finding import State
from intact.model.layer import Baseline
from intact.model.observation import Observation, Scope
from intact.model.seam import Report
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.seam_contract import wait_until

TABLE = b"""90 27 0:90 / / rw - ext4 /dev/a rw
91 27 0:91 / /layers/lazy rw - fuse.stargz stargz rw
92 27 0:92 / /run/c1 rw - overlay overlay rw,lowerdir=/layers/lazy/fs,upperdir=/layers/1/fs,workdir=/layers/1/work
93 27 0:93 / /run/c2 rw - overlay overlay rw,lowerdir=/layers/2/fs,upperdir=/layers/3/fs,workdir=/layers/3/work,from_the_future=on
"""


def refusal(upper: bytes, lower: bytes, minor: int) -> str:
    found = confirm_overlay(Mounted(upper=upper, lowers=(lower,), device=0), parse_mounts(TABLE), root_device=minor)
    assert isinstance(found, Unconfirmed)
    return found.reason


REASONS = {
    "another runtime": "runtime io.containerd.kata.v2",
    "another snapshotter": "snapshotter stargz",
    "layers on FUSE": refusal(b"/layers/1/fs", b"/layers/lazy/fs", 92),
    "an option of a newer kernel": refusal(b"/layers/3/fs", b"/layers/2/fs", 93),
    "no overlay": refusal(b"/layers/1/fs", b"/layers/2/fs", 90),
}


@pytest.mark.parametrize("what", REASONS)
def test_it_is_said_of_it_that_it_is_not_observed_and_why(what: str) -> None:
    reason, reports, now = REASONS[what], list[Report](), 1000.0
    blind = Running(container=replace(WEB.container, id="blind"), init_pid=2, mounted=None, unobservable=reason)
    flow = NodeFlow(
        node="node-1",
        list_running=lambda: [WEB, blind],
        runtime_changed=lambda: False,
        doorbell=Bell(),
        eyes=Eyes(),
        baselines=Shelf(),
        send=reports.append,
        clock=lambda: now,
        steady=lambda: now,
    )

    def is_said() -> bool:
        nonlocal now
        now += 1.0
        flow.step()
        covered = {one.container.id: one for report in reports for one in report.coverage or ()}
        return "blind" in covered and (covered["blind"].verdict, covered["blind"].reason) == ("Unobserved", reason)

    wait_until(is_said, 60)
    verdicts = [one for report in reports for one in report.verdicts if one.container.id == "blind"]
    assert verdicts and all(one.state is State.UNOBSERVED and one.unobserved[0].reason == reason for one in verdicts)


class LateEyes(Eyes):
    """They come when everything is gone."""

    def __init__(self) -> None:
        self.came = False

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: object = ()) -> Observation | None:
        self.came = True
        return None

    def can_look(self, running: Running) -> bool:
        return not self.came


def test_a_container_that_went_with_its_files_between_its_baseline_and_the_first_look_is_said_not_to_have_been_seen() -> None:
    eyes, reports, now = LateEyes(), list[Report](), 1000.0
    flow = NodeFlow(
        node="node-1",
        list_running=lambda: [] if eyes.came else [WEB],
        runtime_changed=lambda: False,
        doorbell=Bell(),
        eyes=eyes,
        baselines=Shelf(),
        send=reports.append,
        clock=lambda: now,
        steady=lambda: now,
    )

    def is_told() -> bool:
        nonlocal now
        now += 1.0
        flow.step()
        told = [one for report in reports for one in report.verdicts if one.scope is Scope.DRIFT]
        return any(one.state is State.UNOBSERVED and "gone before it could be looked at" in one.unobserved[0].reason for one in told)

    wait_until(is_told, 60)
