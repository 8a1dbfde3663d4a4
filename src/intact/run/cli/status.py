"""`intact status`: which containers are as their images say, which are not, and whether anybody is looking.

1. every node: how it hears of changes, how many containers are intact, different as expected, drifted, unobserved, pending, when it was
   heard, events lost
2. every container that is not intact, with the reason
3. open incidents, and policies that are not in force
4. one line that says it all, also of how many containers' read-only layers are not verified yet
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNOBSERVED, PermanentError
from intact.model.layer import Grade
from intact.model.seam import EXPECTED

from .baseline.sizes import show_size
from .output import output_option, print_rows
from .source import Row, Source, clean, count_of, describe_age, level_rank, open_source, parse_instant, state_option

VERDICTS = ("Intact", "Drifted", "Unobserved", "Pending", EXPECTED)


@click.command(short_help="Shows what is watched and what is not intact.")
@click.option("-n", "--namespace", default="", metavar="NS", help="Only containers, incidents and policies of this namespace.")
@state_option
@output_option
def command(namespace: str, state: Path | None, output: str) -> int:
    """Shows what is watched and what is not intact: of the cluster of your kubeconfig, or of `intact watch` on this host.

    A container is `Expected` where all that differs is expected, by its policy or as pods of its template start, or of level Info.

    Exit codes: 0 all intact or as expected; 1 something drifted or an incident is open; 3 nothing drifted, but something could not be
    looked at, waits for its baseline, or a node is silent.
    """
    with open_source(state) as source:
        view = take_view(source, namespace, time.time())
    if output == "table":
        print_view(view)
    else:
        print_rows([{"type": type, **row} for type, rows in view.parts for row in rows], {}, output, "")
    return int(view.summary["exit_code"])


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is shown at one time."""

    nodes: Sequence[Row]
    containers: Sequence[Row]
    """Those that are not intact."""
    unverified: Sequence[Row]
    """Those of the others whose read-only layers have still to be read, all or in part."""
    policies: Sequence[Row]
    incidents: Sequence[Row]
    """Those that are not resolved."""
    summary: Row
    now: float

    @property
    def parts(self) -> tuple[tuple[str, Sequence[Row]], ...]:
        return (
            ("node", self.nodes),
            ("container", [*self.containers, *self.unverified]),
            ("policy", self.policies),
            ("incident", self.incidents),
            ("summary", [self.summary]),
        )


def take_view(source: Source, namespace: str, now: float) -> View:
    """Reads everything and sums it up. With a `namespace`, nodes count its containers alone."""
    incidents = [incident for incident in source.incidents(namespace) if incident["state"] != "Resolved"]
    incidents.sort(key=lambda row: -level_rank(row["level"]))
    refused: list[str] = []
    nodes, containers, unverified = [], [], []
    grades: Counter[str] = Counter()
    for node in _read(source.nodes, refused):
        listed = [one for one in node.pop("containers") if namespace in ("", one["namespace"])]
        containers += [one for one in listed if one["verdict"] != "Intact"]
        unverified += [one for one in listed if one["verdict"] == "Intact" and one["layers_unverified_bytes"]]
        grades.update(str(one["grade"]) for one in listed if one["grade"])
        if namespace:
            counted = [str(one["verdict"]) for one in listed]
            node |= {verdict.lower(): counted.count(verdict) for verdict in VERDICTS}
        silent = now - parse_instant(node["heard_at"]) > source.patience_s
        nodes.append({**node, "silent": silent})
    for container in containers:
        container["reason"] = container["reason"] or _explain(container, incidents)
    policies = _read(lambda: source.policies(namespace), refused)
    return View(
        nodes=nodes,
        containers=sorted(
            containers, key=lambda one: (VERDICTS.index(one["verdict"]) if one["verdict"] in VERDICTS else 2, one["container"])
        ),
        unverified=sorted(unverified, key=lambda one: str(one["container"])),
        policies=policies,
        incidents=incidents,
        summary=_sum_up(nodes, incidents, policies, refused, namespace, now, grades, _list_unverified([*containers, *unverified])),
        now=now,
    )


def _read(read: Callable[[], list[Row]], refused: list[str]) -> list[Row]:
    """What the caller may not read is told as not seen: somebody with rights in one namespace still sees its incidents."""
    try:
        return read()
    except PermanentError as error:
        if error.code != "Forbidden":
            raise
        refused.append(clean(error, 300))
        return []


def _explain(container: Row, incidents: Sequence[Row]) -> str:
    """Why a container is not intact, where its node said only that."""
    for incident in incidents:
        if container["verdict"] == "Drifted" and incident["namespace"] == container["namespace"] and container["pod"] in incident["pods"]:
            first = next((f", first {path['change']} {path['path']}" for path in incident["paths"]), "")
            return f"{count_of(incident['count'], 'finding')}{first} (incident {incident['incident']})"
    return "differs from its image; no incident is open" if container["verdict"] == "Drifted" else "no reason was given"


def _sum_up(
    nodes: Sequence[Row],
    incidents: Sequence[Row],
    policies: Sequence[Row],
    refused: Sequence[str],
    namespace: str,
    now: float,
    grades: Mapping[str, int],
    unverified: Sequence[int],
) -> Row:
    counts = {verdict.lower(): sum(int(node[verdict.lower()]) for node in nodes) for verdict in VERDICTS}
    silent = [node for node in nodes if node["silent"]]
    unlisted = sum(int(node["unlisted"]) for node in nodes) if namespace else 0
    lacking = [
        *([f"{count_of(counts['unobserved'], 'container')} could not be looked at"] if counts["unobserved"] else []),
        *([f"{count_of(counts['pending'], 'container')} waiting for a first look"] if counts["pending"] else []),
        *(f"node {clean(node['node'], 63)} last heard {_ago(parse_instant(node['heard_at']), now)}" for node in silent[:3]),
        *([f"{len(silent) - 3} more nodes silent"] if len(silent) > 3 else []),
        *([f"{count_of(unlisted, 'container')} not listed by namespace (ask without -n)"] if unlisted else []),
        *([] if nodes or refused else ["no node has reported yet"]),
        *refused,
    ]
    total = sum(counts.values())
    differ = [
        *([f"{counts['drifted']} of {count_of(total, 'container')} differ from the image"] if counts["drifted"] else []),
        *([_name_incidents(incidents)] if incidents else []),
    ]
    where = f" in namespace {clean(namespace, 63)}" if namespace else f" on {count_of(len(nodes), 'node')}"
    if differ:
        code, verdict, line = EXIT_FINDINGS, "Drifted", "NOT INTACT: " + "; ".join([*differ, *lacking]) + "."
    elif lacking:
        code, verdict = EXIT_UNOBSERVED, "Unobserved"
        line = "NOT SURE: nothing differs where Intact could look, but " + "; ".join(lacking) + "."
    else:
        code, verdict = EXIT_CLEAN, "Intact"
        line = _tell_intact(total, counts["expected"], where)
    if grades:
        line += f" Baselines: {', '.join(f'{grades[grade]} {clean(grade, 20)}' for grade in sorted(grades, key=_grade_rank))}."
    if unverified:
        line += f" Read-only layers of {count_of(len(unverified), 'container')} not verified yet, up to {show_size(max(unverified))} each."
    problems = sum(not policy["accepted"] for policy in policies)
    if problems:
        line += f" {count_of(problems, 'policy').replace('policys', 'policies')} not in force."
    return {
        "verdict": verdict,
        **counts,
        "incidents": len(incidents),
        "silent_nodes": len(silent),
        "policies_not_in_force": problems,
        "grades": dict(grades),
        "layers_unverified": len(unverified),
        "line": line,
        "exit_code": code,
    }


def _tell_intact(total: int, expected: int, where: str) -> str:
    if not total:
        return f"INTACT: no containers{where}."
    if not expected:
        return f"INTACT: {count_of(total, 'container')}{where}, all as their images say."
    return f"INTACT: {count_of(total, 'container')}{where}, as their images say or as expected: {expected} differ only in what is expected."


def _list_unverified(containers: Sequence[Row]) -> list[int]:
    """Of each container with read-only layers that have still to be read, how many bytes."""
    return [int(one["layers_unverified_bytes"]) for one in containers if one["layers_unverified_bytes"]]


def _grade_rank(title: str) -> int:
    """The best first; what this program does not know last."""
    return next((-int(grade) for grade in Grade if grade.title == title), 0)


def _name_incidents(incidents: Sequence[Row]) -> str:
    worst = incidents[0]
    more = f" -n {worst['namespace']}" if worst["namespace"] else ""
    subject = "/".join(filter(None, (worst["namespace"], worst["workload"])))
    return clean(
        f"{count_of(len(incidents), 'open incident')}, worst {worst['level']} in {subject}: intact incident show {worst['incident']}{more}",
        500,
    )


def _ago(at: float, now: float) -> str:
    return f"{describe_age(at, now)} ago" if at else "never"


def print_view(view: View) -> None:
    print_rows(view.nodes, _node_columns(view.now), "table", "no node to show")
    for node in view.nodes:
        letter, _, reason = str(node["tier"]).partition(":")
        if letter != "A" and reason:
            click.echo(f"node {clean(node['node'])} does not hear every change: {clean(reason.strip())}", err=True)
    for rows, columns in (
        (view.containers, CONTAINER_COLUMNS),
        (view.incidents, INCIDENT_COLUMNS),
        ([policy for policy in view.policies if not policy["accepted"]], POLICY_COLUMNS),
    ):
        if rows:
            click.echo()
            print_rows(rows, columns, "table", "")
    click.echo(f"\n{view.summary['line']}")


def _node_columns(now: float) -> Mapping[str, Callable[[Mapping[str, Any]], str]]:
    return {
        "NODE": lambda row: clean(row["node"], 63),
        "TIER": lambda row: clean(str(row["tier"]).partition(":")[0] or "-", 20),
        "INTACT": lambda row: str(row["intact"]),
        "EXPECTED": lambda row: str(row["expected"]),
        "DRIFTED": lambda row: str(row["drifted"]),
        "UNOBSERVED": lambda row: str(row["unobserved"]),
        "PENDING": lambda row: str(row["pending"]),
        "HEARD": lambda row: _ago(parse_instant(row["heard_at"]), now) + (" (silent)" if row["silent"] else ""),
        "LOST": lambda row: count_of(row["events_lost"], "event"),
    }


CONTAINER_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "VERDICT": lambda row: clean(row["verdict"], 20),
    "CONTAINER": lambda row: clean(row["container"], 120),
    "NODE": lambda row: clean(row["node"], 63),
    "BASELINE": lambda row: clean(row["grade"], 20) or "-",
    "WHY": lambda row: clean(row["reason"]),
}

INCIDENT_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "INCIDENT": lambda row: clean("/".join(filter(None, (row["namespace"], row["incident"]))), 200),
    "WORKLOAD": lambda row: clean(row["workload"], 120),
    "CAUSE": lambda row: clean(row["cause"], 20),
    "LEVEL": lambda row: clean(row["level"], 20),
    "BASELINE": lambda row: clean(row["grade"], 20) or "-",
    "PODS": lambda row: str(row["pod_count"]),
    "ACTION": lambda row: clean(row["action"], 80) or "-",
    "STATE": lambda row: clean(row["state"], 20),
}

POLICY_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "POLICY NOT IN FORCE": lambda row: clean("/".join(filter(None, (row["namespace"], row["policy"]))), 200),
    "WHY": lambda row: clean(row["problem"]),
}
