"""Stock services, each as a Deployment of two pods: their normal life raises nothing, and every attack on them is told.

The short form of `python -m bench.noise`, which has more services and lets them live for a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.noise.attacking import Outcome, attack, check_silent
from bench.noise.attacks import ATTACKS, SILENT
from bench.noise.life import Life, live
from bench.noise.stage import Stage, open_stage
from bench.noise.workloads import WORKLOADS
from tests.cluster.whole import Installed

SERVICES = ("nginx", "apache-php", "postgresql", "redis", "gunicorn", "postfix", "cron", "sshd")
"""One of every kind: templates made at the start, scratch code, data in the layer, bytecode, spools, rotation, accounts."""
CHOSEN = [one for one in WORKLOADS if one.service in SERVICES]
LOAD_S = 12.0
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def stage(installed: Installed) -> Iterator[Stage]:
    with open_stage(installed.cluster, installed.receivers, installed.directory) as stage:
        yield stage


@pytest.fixture(scope="module")
def life(stage: Stage) -> Life:
    return live(stage, CHOSEN, load_s=LOAD_S, say=print)


@pytest.mark.timeout(1800)
def test_start_load_rotation_reload_and_restart_raise_nothing(stage: Stage, life: Life) -> None:
    unused = [one.service for one in CHOSEN if one.load and not life.answered[one.service]]
    assert not unused, f"no request was ever answered: {life.errors}"
    told = [(leaf["workload"], leaf["body"]["level"], leaf["body"]["rule"], leaf["body"]["path"]) for leaf in stage.recorded("Finding")]
    assert [one for one in told if one[1] not in ("Info", "Low")] == []
    assert stage.incidents() == []
    assert stage.alerts() == []


@pytest.mark.timeout(600)
def test_what_is_silent_by_design_is_silent(stage: Stage, life: Life) -> None:
    outcomes = check_silent(stage, [one for one in SILENT if one.service in SERVICES], patience_s=15)
    assert [_describe(one) for one in outcomes if one.error or one.alerted] == []


@pytest.mark.timeout(900)
def test_every_attack_on_them_is_told(stage: Stage, life: Life) -> None:
    outcomes = attack(stage, [one for one in ATTACKS if one.service in SERVICES], patience_s=PATIENCE_S)
    assert [_describe(one) for one in outcomes if one.error or not one.alerted] == []
    assert {one["spec"]["workload"]["name"] for one in stage.incidents()} == set(SERVICES)


def _describe(one: Outcome) -> str:
    return f"{one.attack.what} ({one.attack.service} {one.attack.path}): {one.error or one.rule or 'not told'}"
