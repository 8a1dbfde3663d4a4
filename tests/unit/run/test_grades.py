"""How far the baseline is to be trusted stands in everything that is told: alerts, their places, the record, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intact.adapters.sinks.document import describe_alert
from intact.adapters.sinks.stdout import format_line
from intact.adapters.sinks.syslog import format_alert
from intact.model.digest import Digest
from intact.model.seam import Report
from intact.run.cli.incident import print_incident
from intact.run.cli.source_local import LocalSource
from tests.attack.test_stolen_nodes_and_baselines import KEY, LIE, TRUE, covered, drifted
from tests.unit.clusters import Staged, staged


def report_drift(cluster: Staged, root: Digest) -> None:
    pod = cluster.world.add("web-1", "n1")
    cluster.report("n1", covered(pod, "n1", root))
    verdict = drifted(pod, "n1", cluster.clock.now, root=root)
    cluster.flow.receive("n1", Report(id="drift", node="n1", at=cluster.clock.now, verdicts=(verdict,)))


@pytest.mark.parametrize(("known", "grade"), [(True, "Verified"), (False, "NodeReported")])
def test_every_output_says_how_far_the_baseline_is_to_be_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known: bool, grade: str
) -> None:
    with staged(tmp_path) as cluster:
        if known:
            cluster.library.roots[KEY] = TRUE
        report_drift(cluster, TRUE)
        incident = cluster.wait_incident()
        (alert,) = [one for one in cluster.alerts() if one.kind.value == "IncidentOpened"]
        assert (alert.grade, alert.baselines) == (grade, (str(KEY),))
        assert json.loads(json.dumps(describe_alert(alert)))["grade"] == grade
        assert f' grade="{grade}" baselines="{KEY}"'.encode() in format_alert(alert, hostname="h", app_name="intact", process_id=1)
        assert f"(baseline: {grade})" in format_line(alert)
        for kind in ("Finding", "Verdict"):
            (leaf,) = cluster.leaves(kind)
            assert (leaf.body["grade"], leaf.body["baseline_root"]) == (grade, str(TRUE)), kind
        (leaf,) = cluster.leaves("IncidentOpened")
        assert leaf.body["baselines"] == [{"key": str(KEY), "root": str(TRUE), "grade": grade}]
        local = LocalSource(tmp_path)
        row = local.incident(incident.id, "")
        assert row is not None and row["grade"] == grade
        (container,) = local.nodes()[0]["containers"]
        assert container["grade"] == grade
        row["baselines"][0] |= {"source": "docker://registry.example/web", "signers": ["sha256:key"]}
        print_incident(row, [], cluster.clock.now)
        assert (
            f"{grade}, of image {KEY}, root {TRUE}, from docker://registry.example/web, signed by sha256:key" in capsys.readouterr().out
        )  # fmt: skip
        local.close()


def test_what_is_held_against_a_node_is_shown_with_both_roots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with staged(tmp_path) as cluster:
        cluster.library.roots[KEY] = TRUE
        report_drift(cluster, LIE)
        incident = cluster.wait_incident(lambda one: one.workload.kind == "Node")
        local = LocalSource(tmp_path)
        row = local.incident(incident.id, "")
        assert row is not None
        print_incident(row, [], cluster.clock.now)
        local.close()
    shown = capsys.readouterr().out
    assert "1 matter held against it" in shown and str(TRUE) in shown and str(LIE) in shown and "finding" not in shown
