"""`intact policy`: what could be expected of a workload, with what that could hide, and what its pods start with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from intact.adapters.store.database import Database
from intact.adapters.store.reports import SqlReportStore
from intact.decide.counted import add_counts
from intact.decide.grammar import parse_policy
from intact.decide.reducer import reduce
from intact.decide.start import learn
from intact.model.container import Container, Pod
from intact.model.counted import CountedDrift
from intact.model.finding import Aggregate
from intact.model.policy import Policy
from intact.model.seam import Coverage
from intact.run.cli import cli
from intact.run.storage.memory import open_state
from tests.unit.decide.cases import WEB, facts, found, opened, pod
from tests.unit.decide.test_start import NOBODY, change, saw


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a controller that has seen two pods of one Deployment."""
    directory = tmp_path_factory.mktemp("state")
    memory = open_state(directory).memory
    hostile = Aggregate(pattern="/srv/\n- {paths: ['/**']}", rule="data-added", count=3)
    counted = add_counts(
        CountedDrift(workload=WEB, container="web", image="web:1"),
        [
            Aggregate(pattern="/srv/uploads/*.php", rule="code-in-scratch", count=2),
            hostile,
            Aggregate(pattern="/x", rule="made up", count=1),
        ],
        "p1",
        1.0,
    )
    deleted = CountedDrift(workload=replace(WEB, uid="w0"), container="web", image="web:0")
    earlier = add_counts(deleted, [Aggregate(pattern="/old/**", rule="data-added", count=9)], "p0", 0.5)
    reported = [found(pod(name, "n1"), path=b"/etc/app.conf", rule_id="control-file-added") for name in ("a", "b")]
    incident, _ = reduce(None, reported, Policy(name="p"), facts(pod("a", "n1"), pod("b", "n1")), 1000.0)
    profile = NOBODY
    for name, node, content in (("a", "n1", b"1"), ("b", "n2", b"2")):
        witness = saw(name, node, change(), change(b"/etc/key", content, rule="control-file-added"))
        profile = learn(profile, witness)
    with memory.transactions.transaction():
        memory.starts.save_counted(counted, 1.0)
        memory.starts.save_counted(earlier, 0.5)
        memory.incidents.save(opened(incident))
        memory.starts.save(profile, 1.0)
    return directory


def say(state: Path, *words: str) -> str:
    done = CliRunner().invoke(cli, ["policy", *words, "--state", str(state)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_suggestion_can_be_put_into_a_policy_as_it_stands(state: Path) -> None:
    said = say(state, "suggest", "shop/web")
    spec: Any = yaml.safe_load(said)
    (expected,) = parse_policy({"metadata": {"name": "p"}, "spec": spec}, "IntegrityPolicy").expect
    assert expected.paths == ("/etc/app.conf",)
    assert "could hide accounts, keys" in said and "web shell" in said
    assert "made up" not in said, "a rule that nobody knows says nothing of what it could hide"


def test_a_suggestion_says_how_to_be_told_of_what_is_only_counted(state: Path) -> None:
    said = say(state, "suggest", "shop/web").partition("# to be told of such a place instead, give it a level:\n# ")[2]
    (raised,) = parse_policy({"metadata": {"name": "p"}, "spec": yaml.safe_load(said)}, "IntegrityPolicy").levels
    assert raised.paths == ("/srv/uploads/*.php",)


def test_programs_read_it_too(state: Path) -> None:
    rows = json.loads(say(state, "suggest", "shop/web", "--output", "json"))
    assert {(row["pattern"], row["alerts"]) for row in rows} >= {("/etc/app.conf", True), ("/srv/uploads/*.php", False)}


def test_what_a_deleted_workload_of_the_same_name_wrote_is_left_out(state: Path) -> None:
    said = say(state, "suggest", "shop/web")
    assert "/old/**" not in said and "# left out: 1 earlier of the same name, deleted since" in said
    assert all(row["pattern"] != "/old/**" for row in json.loads(say(state, "suggest", "shop/web", "--output", "json")))


@pytest.mark.parametrize(("uid", "is_said"), [("p1", False), ("another", True)])
def test_what_no_pod_runs_any_more_is_said(state: Path, uid: str, is_said: bool) -> None:
    where = Pod(namespace="shop", name="web-1", uid=uid)
    container = Container(id="c", name="web", image="web:1", image_key=None, node="n1", pod=where)
    covered = Coverage(container=container, verdict="Intact", baseline_root=None, grade="", verified_at=1.0, layers_verified_at=1.0)
    database = Database.in_directory(state)
    SqlReportStore(database).save_coverage("n1", 1.0, (covered,), "A")
    database.close()
    assert ("# none of the pods that did this runs any more" in say(state, "suggest", "shop/web")) is is_said


def test_what_pods_start_with_is_listed(state: Path) -> None:
    rows = json.loads(say(state, "starts", "shop/web", "--output", "json"))
    assert [(row["path"], row["says"], row["pods"]) for row in rows] == [
        ("/etc/key", "Varies", 2),
        ("/etc/nginx/nginx.conf", "Expected", 2),
    ]
    assert "Expected" in say(state, "starts")


def test_a_workload_that_nobody_knows_is_named(state: Path) -> None:
    done = CliRunner().invoke(cli, ["policy", "suggest", "shop/nothing", "--state", str(state)])
    assert done.exit_code != 0 and "nothing is known of shop/nothing" in str(done.exception)


@pytest.mark.parametrize("name", ["shop/web", "shop/Deployment/web", "Deployment shop/web"])
def test_a_workload_is_named_as_status_and_audit_name_it(state: Path, name: str) -> None:
    assert say(state, "suggest", name) == say(state, "suggest", "shop/web")
