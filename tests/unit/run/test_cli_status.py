"""`intact status` and `intact incident`: what is not intact is named with its reason, whichever place it is read from, and nothing that was
not looked at is called intact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.cluster.api import Rejected
from intact.adapters.cluster.api import Status as ApiStatus
from intact.adapters.cluster.bodies import condition, incident_body, instant, node_body, outcome_body, remediation_body
from intact.adapters.cluster.kinds import CLUSTER_POLICY, INCIDENT, NODE, POLICY, REMEDIATION, Kind
from intact.adapters.store.database import Database
from intact.adapters.store.incidents import SqlIncidentStore, SqlRemediationStore
from intact.adapters.store.reports import SqlReportStore
from intact.audit.steps import record_gap
from intact.decide.reducer import reduce
from intact.decide.summary import summarise_paths
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.errors import InputError
from intact.model.incident import Decision, Incident, Outcome, Phase
from intact.model.seam import Coverage, Gap, NodeStatus
from intact.run.cli import incident as incident_command
from intact.run.cli import source
from intact.run.cli.source_cluster import ClusterSource
from intact.run.cli.status import View, print_view, take_view
from intact.run.storage.memory import open_state
from tests.unit.decide.cases import WISH, facts, found, pod

NOW = time.time()
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\nINTACT: 9 containers on 1 node, all as their images say."
SHELL = "/usr/share/nginx/html/shell.php"


def covered(name: str, verdict: str = "Intact", *, reason: str = "", namespace: str = "shop", unverified: int | None = None) -> Coverage:
    where = Pod(namespace=namespace, name=name, uid=f"uid-{name}")
    container = Container(id=name, name="web", image="shop/web:2", image_key=Digest.of(b"config"), node="n1", pod=where)
    return Coverage(
        container=container,
        verdict=verdict,
        baseline_root=None,
        grade="Verified",
        verified_at=NOW,
        layers_verified_at=NOW,
        reason=reason,
        layers_unverified_bytes=unverified,
    )


def decided(name: str) -> tuple[Incident, Decision]:
    """The incident of a web shell in pod `name`, and the rollback that a policy wants."""
    incident, decisions = reduce(None, [found(pod(name), at=NOW)], WISH, facts(pod(name), pod("b", "n2")), NOW)
    assert incident is not None
    return incident, next(decision for decision in decisions if decision.to)


# -- the store of `intact watch` -------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def keep(state: Path, *coverage: Coverage, at: float = 0.0, tier: str = "A: every write is heard") -> None:
    database = Database.in_directory(state)
    SqlReportStore(database).save_coverage("n1", at or time.time(), coverage, tier)
    database.close()


def keep_incident(state: Path) -> Incident:
    incident, decision = decided("a/web")  # without a cluster, every container is its own workload
    database = Database.in_directory(state)
    SqlIncidentStore(database).save(incident)
    actions = SqlRemediationStore(database)
    actions.claim(Outcome(decision=decision, phase=Phase.PROPOSED, message="", at=NOW))
    actions.save(Outcome(decision=decision, phase=Phase.FAILED, message="the API server\x1b[2J said no", at=NOW, revision="h1"))
    database.close()
    return incident


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "intact", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    return done


def rows_of(done: subprocess.CompletedProcess[str], type: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(done.stdout) if row["type"] == type]


def test_a_host_on_which_all_is_intact_ends_with_0_and_says_so_in_one_line(state: Path) -> None:
    keep(state, covered("a"), covered("b"))
    done = run("status", "--state", state)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "INTACT: 2 containers on 1 node, all as their images say. Baselines: 2 Verified."
    assert done.stdout.splitlines()[1].split()[:6] == ["n1", "A", "2", "0", "0", "0"]
    assert str(state) in done.stderr


def test_how_much_of_a_containers_read_only_layers_is_not_verified_is_said(state: Path) -> None:
    keep(state, covered("a", unverified=0), covered("b", unverified=1_200_000_000))
    done = run("status", "--state", state)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("Read-only layers of 1 container not verified yet, up to 1.2 GB each.")
    (row,) = rows_of(run("status", "--state", state, "--output", "json"), "container")
    assert (row["pod"], row["layers_unverified_bytes"]) == ("b/web", 1_200_000_000)


def test_what_drifted_is_named_with_its_gravest_path_and_its_incident_and_ends_with_1(state: Path) -> None:
    incident = keep_incident(state)
    keep(state, covered("b"), covered("a", "Drifted"))
    done = run("status", "--state", state)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("NOT INTACT: 1 of 2 containers differ from the image; 1 open incident, worst High in shop/Deployment/web")
    assert f"intact incident show {incident.id} -n shop" in last
    assert f"1 finding, first Added {SHELL} (incident {incident.id})" in done.stdout
    assert run("status", "--state", state, "-n", "bank").returncode == 0


def test_what_differs_only_as_expected_is_shown_as_that_and_ends_with_0(state: Path) -> None:
    keep(state, covered("a"), covered("b", "Expected", reason="what differs is expected by its policy"))
    done = run("status", "--state", state)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:4] == ["n1", "A", "1", "1"]
    assert "Expected  shop/b/web" in done.stdout and "expected by its policy" in done.stdout
    line = "INTACT: 2 containers on 1 node, as their images say or as expected: 1 differ only in what is expected."
    assert done.stdout.splitlines()[-1].startswith(line)
    (summary,) = rows_of(run("status", "--state", state, "--output", "json"), "summary")
    assert (summary["verdict"], summary["expected"], summary["drifted"]) == ("Intact", 1, 0)
    keep_incident(state)
    assert run("status", "--state", state).returncode == 1, "an open incident is never passed over"


@pytest.mark.parametrize(
    ("verdict", "said"), [("Unobserved", "1 container could not be looked at"), ("Pending", "1 container waiting for a first look")]
)
def test_what_nobody_could_look_at_is_never_called_intact(state: Path, verdict: str, said: str) -> None:
    keep(state, covered("a"), covered("b", verdict, reason=f"snapshotter {HOSTILE}"))
    done = run("status", "--state", state)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == f"NOT SURE: nothing differs where Intact could look, but {said}. Baselines: 2 Verified."
    assert "snapshotter" in done.stdout


def test_a_node_that_fell_silent_is_named_and_ends_with_3(state: Path) -> None:
    keep(state, covered("a"), at=time.time() - 600)
    done = run("status", "--state", state)
    assert done.returncode == 3 and "node n1 last heard 10m ago" in done.stdout


def test_a_node_that_never_spoke_is_no_proof_of_anything(state: Path) -> None:
    Database.in_directory(state).close()
    done = run("status", "--state", state)
    assert done.returncode == 3 and "no node has reported yet" in done.stdout


def test_lost_events_and_a_lower_tier_are_told(state: Path) -> None:
    keep(state, covered("a"), tier="C: no events: Operation not permitted")
    opened = open_state(state)
    opened.audit.append([record_gap("n1", Gap(since=NOW, until=NOW, reason="event queue overflow", events_lost=7), now=NOW)])
    done = run("status", "--state", state)
    assert "7 events" in done.stdout
    assert "node n1 does not hear every change: no events: Operation not permitted" in done.stderr


def test_programs_get_rows_with_a_type_and_the_same_exit_code(state: Path) -> None:
    keep_incident(state)
    keep(state, covered("a", "Drifted"))
    done = run("status", "--state", state, "--output", "json")
    (summary,) = rows_of(done, "summary")
    assert done.returncode == summary["exit_code"] == 1
    (incident,) = rows_of(done, "incident")
    assert incident["paths"][0]["path"] == SHELL
    assert len(run("status", "--state", state, "--output", "jsonl").stdout.splitlines()) == len(json.loads(done.stdout))


def test_an_incident_is_listed_and_shown_with_expected_actual_and_what_was_done(state: Path) -> None:
    incident = keep_incident(state)
    listed = run("incident", "list", "--state", state).stdout.splitlines()
    assert listed[1].split()[:5] == ["shop", incident.id, "Deployment/web", incident.cause.value, "High"]
    shown = run("incident", "show", incident.id, "--state", state).stdout
    assert f"- → {incident.seen[0].actual}" in shown and SHELL in shown
    assert "RollBack" in shown and "Failed" in shown and "revision h1" in shown
    assert "the API server\\x1b[2J said no" in shown
    row = json.loads(run("incident", "show", incident.id, "--state", state, "--output", "jsonl").stdout)
    assert row["actions"][0]["phase"] == "Failed"


def test_incidents_that_are_not_there_are_the_callers_to_mend(state: Path) -> None:
    keep_incident(state)
    missing = run("incident", "show", "none\x1b[2J", "--state", state)
    assert missing.returncode == 10 and "\x1b" not in missing.stderr and "there is no incident" in missing.stderr
    assert run("incident", "list", "--state", state, "-n", "bank").stdout == ""
    assert run("incident", "list", "--state", state, "-n", "bank", "-A").returncode == 2


def test_no_cluster_and_no_store_is_one_line_that_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(source, "DEFAULT_STATE", tmp_path / "none")
    with pytest.raises(InputError, match="set KUBECONFIG, or --state DIR"), source.open_source(None):
        pass


def test_the_default_store_is_read_where_there_is_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path / "default", covered("a"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(source, "DEFAULT_STATE", tmp_path / "default")
    with source.open_source(None) as opened:
        assert [node["intact"] for node in opened.nodes()] == [1]


def test_a_broken_kubeconfig_and_a_dead_cluster_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("not: [a kubeconfig")
    assert run("status", KUBECONFIG=str(tmp_path / "none")).returncode == 10
    dead = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "dead").write_text(json.dumps(dead))
    done = run("status", KUBECONFIG=str(tmp_path / "dead"))
    assert done.returncode == 12 and "does not answer" in done.stderr


# -- a cluster -------------------------------------------------------------------------------------------------------------------------


class Cluster:
    """Objects as the API server would give them."""

    namespace = "shop"

    def __init__(self, *objects: tuple[Kind, dict[str, Any]], installed: bool = True) -> None:
        self._objects, self._installed = objects, installed

    def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any] | None:
        return next((one for one in self.list_all(kind, namespace) if one["metadata"]["name"] == name), None)

    def list_all(self, kind: Kind, namespace: str = "*") -> Iterator[dict[str, Any]]:
        if not self._installed:
            raise Rejected(ApiStatus(message="404 page not found", reason="NotFound", code=404))
        for known, one in self._objects:
            if known is kind and namespace in ("*", one["metadata"].get("namespace", "")):
                yield one


def node(*coverage: Coverage, heard_at: float = NOW) -> tuple[Kind, dict[str, Any]]:
    return NODE, node_body(NodeStatus(node="n1", heard_at=heard_at, tier="A: every write is heard", coverage=coverage))


def policy(name: str, *, problem: str = "", namespace: str = "shop") -> tuple[Kind, dict[str, Any]]:
    status = {"conditions": [condition("Accepted", not problem, "", problem or "in force", instant(NOW))], "pods": 2}
    return POLICY, {"metadata": {"name": name, "namespace": namespace}, "spec": {"mode": "Enforce"}, "status": status}


def look(*objects: tuple[Kind, dict[str, Any]], namespace: str = "") -> View:
    return take_view(ClusterSource(Cluster(*objects)), namespace, NOW)


def test_a_cluster_is_read_from_its_custom_resources_as_the_controller_writes_them() -> None:
    incident, decision = decided("a")
    done = Outcome(decision=decision, phase=Phase.VERIFIED, message="2 new pods were observed intact", at=NOW, revision="h1")
    written = remediation_body(decision) | {"status": outcome_body(done)["status"]}
    objects = (INCIDENT, incident_body(incident, summarise_paths(incident))), (REMEDIATION, written), node(covered("a", "Drifted"))
    view = look(*objects)
    assert view.summary["exit_code"] == 1
    (container,) = view.containers
    assert container["reason"] == f"1 finding, first Added {SHELL} (incident {incident.id})"
    reader = ClusterSource(Cluster(*objects))
    (action,) = reader.actions(incident.id, "shop")
    assert (action["phase"], action["message"], action["revision"]) == ("Verified", "2 new pods were observed intact", "h1")
    shown = reader.incident(incident.id, "shop")
    assert shown is not None and shown["paths"][0]["actual"] == incident.seen[0].actual
    assert reader.incidents("bank") == [] and len(reader.incidents("")) == 1


def test_what_is_expected_in_a_cluster_is_counted_apart_and_drift_beside_it_is_not_hidden() -> None:
    summary = look(node(covered("a"), covered("b", "Expected"))).summary
    assert (summary["exit_code"], summary["expected"]) == (0, 1)
    mixed = look(node(covered("a", "Expected"), covered("b", "Drifted"))).summary
    assert mixed["exit_code"] == 1 and "1 of 2 containers differ from the image" in mixed["line"]


def test_a_node_that_is_only_written_now_and_then_is_not_silent() -> None:
    assert look(node(covered("a"), heard_at=NOW - 350)).summary["exit_code"] == 0
    silent = look(node(covered("a"), heard_at=NOW - 500)).summary
    assert silent["exit_code"] == 3 and "node n1 last heard 8m ago" in silent["line"]


def test_one_namespace_is_judged_by_its_own_containers() -> None:
    mixed = node(covered("a"), covered("b", "Drifted", namespace="bank"))
    assert look(mixed, namespace="shop").summary["exit_code"] == 0
    assert look(mixed, namespace="bank").summary["exit_code"] == 1


def test_containers_that_a_node_could_not_list_are_not_passed_over_for_one_namespace() -> None:
    many = node(*(covered(f"pod-{number}" + "x" * 200, "Unobserved", namespace="bank") for number in range(200)))
    summary = look(many, namespace="shop").summary
    assert summary["exit_code"] == 3 and "not listed by namespace" in summary["line"]


def test_a_policy_that_is_not_in_force_is_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    unread = CLUSTER_POLICY, {"metadata": {"name": "all"}, "spec": {}}
    print_view(look(node(covered("a")), policy("web", problem="spec.expect[0]: too wide"), policy("fine"), unread))
    shown = capsys.readouterr().out
    assert "shop/web" in shown and "too wide" in shown and "fine" not in shown
    assert "the controller has not read it yet" in shown
    assert shown.splitlines()[-1].endswith("2 policies not in force.")


def test_hostile_text_of_the_cluster_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    incident, _ = decided("a")
    body = incident_body(incident, summarise_paths(incident))
    body["spec"]["subject"] = body["metadata"]["name"] = HOSTILE
    for field in ("cause", "level", "explanation", "policy", "action", "firstSeen", "lastSeen"):
        body["status"][field] = HOSTILE
    body["status"]["pods"] = [HOSTILE]
    body["status"]["paths"] = [dict.fromkeys(("path", "change", "level", "expected", "actual", "firstSeen"), HOSTILE)]
    kind, one = node(covered("a", "Drifted"))
    one["metadata"]["name"] = one["status"]["tier"] = one["status"]["heardAt"] = HOSTILE
    one["status"]["containers"][0] |= {"container": HOSTILE, "verdict": HOSTILE, "reason": HOSTILE}
    action = {"metadata": {"name": HOSTILE, "namespace": "shop"}, "spec": dict.fromkeys(("action", "reason", "decidedAt"), HOSTILE)}
    action["spec"]["incident"] = HOSTILE
    action["status"] = dict.fromkeys(("phase", "message", "revision"), HOSTILE)
    cluster = Cluster((kind, one), (INCIDENT, body), policy(HOSTILE, problem=HOSTILE), (REMEDIATION, action))
    print_view(take_view(ClusterSource(cluster), "", NOW))
    reader = ClusterSource(cluster)
    (row,) = reader.incidents("")
    incident_command.print_incident(row, reader.actions(HOSTILE, "shop"), NOW)
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not {c for c in text if not c.isprintable() and c != "\n"}
        assert not any(line.startswith("INTACT:") for line in text.splitlines())
    assert "owned" in told.out


def test_somebody_who_may_not_read_nodes_sees_incidents_and_is_told_what_is_missing() -> None:
    class Restricted(Cluster):
        def list_all(self, kind: Kind, namespace: str = "*") -> Iterator[dict[str, Any]]:
            if kind is NODE:
                raise Rejected(ApiStatus(message="nodeintegrities is forbidden: cannot list", reason="Forbidden", code=403))
            yield from super().list_all(kind, namespace)

    summary = take_view(ClusterSource(Restricted()), "shop", NOW).summary
    assert summary["exit_code"] == 3 and "nodeintegrities is forbidden" in summary["line"]
    incident, _ = decided("a")
    seen = take_view(ClusterSource(Restricted((INCIDENT, incident_body(incident, ())))), "shop", NOW)
    assert seen.summary["exit_code"] == 1 and len(seen.incidents) == 1


def test_a_cluster_without_intact_says_so() -> None:
    with pytest.raises(InputError, match="Intact is not installed"):
        take_view(ClusterSource(Cluster(installed=False)), "", NOW)
