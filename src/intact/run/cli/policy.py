"""`intact policy`: what workloads write in a normal life, ready to be declared as expected, and what their pods start with.

Reads what the controller, or `intact watch`, keeps; changes nothing. With --cluster the controller of the kubeconfig's cluster is asked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from intact.decide.ports import IncidentStore, ReportStore, StartStore
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.incident import Workload
from intact.model.start import StartProfile

from .audit import state_option
from .in_cluster import NAMESPACE, call_in_controller
from .output import describe_time, output_option, print_rows

MAX_INCIDENTS = 1000
NO_STARTS = "no pod was seen to change its files before it was ready"

_cluster_option = click.option("--cluster", "in_cluster", is_flag=True, help="Ask the controller in the cluster that kubectl talks to.")
_namespace_option = click.option(
    "-n", "--namespace", default=NAMESPACE, show_default=True, help="With --cluster: where Intact is installed."
)


@click.group(short_help="Suggests what policies could expect of a workload.")
def command() -> None:
    """Shows what policies could say about a workload: from what was counted, found and learnt."""


@command.command()
@click.argument("workload", metavar="NAMESPACE/WORKLOAD")
@state_option
@_cluster_option
@_namespace_option
@output_option
def suggest(workload: str, state_dir: Path, in_cluster: bool, namespace: str, output: str) -> None:
    """Prints an `expect` list for WORKLOAD: what raised alerts alike in several pods, and what is only counted.

    Nothing of it is known to be harmless: each entry says what it could hide.
    """
    if in_cluster:
        _relay(["policy", "suggest", workload, "--output", output], namespace)
        return
    from intact.decide.counted import UID_LENGTH, choose_latest, find_pods
    from intact.decide.counted import suggest as find_suggestions

    with _open_stores(state_dir) as stores:
        counted = [one for one in stores.starts.list_counted() if _is_meant(one.workload, workload)]
        incidents = [one for one in stores.incidents.list_recent(MAX_INCIDENTS) if _is_meant(one.workload, workload)]
        covered = [one.container for _, _, _, coverage in stores.reports.coverage() for one in coverage]
    if not counted and not incidents:
        raise InputError(
            f"nothing is known of {display_path(workload.encode())}", hint="name it as `intact status` does: NAMESPACE/WORKLOAD"
        )
    latest, latest_incidents, left_out = choose_latest(counted, incidents)
    running = {(one.pod.uid if one.pod is not None else one.id)[:UID_LENGTH] for one in covered}
    rows = [
        {
            "rule": one.rule,
            "pattern": one.pattern,
            "count": one.count,
            "pods": one.pods,
            "alerts": one.told,
            "could_hide": one.could_hide,
        }
        for one in find_suggestions(latest, latest_incidents)
    ]
    if output == "table":
        if left_out:
            click.echo(f"# left out: {left_out} earlier of the same name, deleted since")
        if running and not running & find_pods(latest, latest_incidents):
            click.echo("# none of the pods that did this runs any more")
        _print_expect(rows)
    else:
        print_rows(rows, {}, output, "")


@command.command()
@click.argument("workload", metavar="[NAMESPACE/WORKLOAD]", default="")
@state_option
@_cluster_option
@_namespace_option
@output_option
def starts(workload: str, state_dir: Path, in_cluster: bool, namespace: str, output: str) -> None:
    """Lists what pods change in their own files before they are ready: what is expected of each template's pods."""
    if in_cluster:
        _relay(["policy", "starts", *([workload] if workload else []), "--output", output], namespace, NO_STARTS)
        return
    with _open_stores(state_dir) as stores:
        profiles = [one for one in stores.starts.list_all() if not workload or _is_meant(one.template.workload, workload)]
    rows = [row for profile in profiles for row in _describe_profile(profile)]
    print_rows(rows, START_COLUMNS, output, NO_STARTS)


START_COLUMNS: dict[str, Callable[[Any], str]] = {
    "WORKLOAD": lambda row: row["workload"],
    "TEMPLATE": lambda row: row["template"],
    "CONTAINER": lambda row: row["container"],
    "SINCE": lambda row: row["established_at"][:19] or "-",
    "PODS": lambda row: str(row["pods"]),
    "SAYS": lambda row: row["says"],
    "PATH": lambda row: row["path"],
    "RULE": lambda row: row["rule"],
}


def _describe_profile(profile: StartProfile) -> Iterator[dict[str, Any]]:
    """One row a path. `Expected` is the same in several pods, `Varies` has a content of its own in each, `Seen` was seen in one."""
    from intact.decide.start import know

    known = know(profile, is_spread=False).expected
    pods: dict[tuple[bytes, str], set[str]] = {}
    rules: dict[tuple[bytes, str], str] = {}
    for witness in profile.witnesses:
        for entry in witness.entries:
            pods.setdefault((entry.path, entry.shape), set()).add(witness.pod)
            rules[entry.path, entry.shape] = entry.rule
    for place in sorted(pods):
        expected = known.get(place)
        yield {
            "workload": display_path(str(profile.template.workload).encode(), 400),
            "template": profile.template.name,
            "container": profile.template.container,
            "image_key": profile.template.image,
            "established_at": describe_time(profile.established_at),
            "pods": len(pods[place]),
            "says": "Seen" if expected is None else "Varies" if expected.varies else "Expected",
            "path": display_path(place[0]),
            "rule": rules[place],
        }


def _print_expect(rows: Sequence[dict[str, Any]]) -> None:
    """As YAML for `spec`: what alerts first, ready to be used; what is counted anyway as comments."""
    told, silent = [row for row in rows if row["alerts"]], [row for row in rows if not row["alerts"]]
    if told:
        click.echo("expect:")
        for row in told:
            click.echo(f"  # {row['rule']}, alike in {row['pods']} pods; could hide {row['could_hide']}")
            click.echo(f"  - {{paths: [{json.dumps(row['pattern'])}], reason: {json.dumps('suggested by what was found')}}}")
    else:
        click.echo("# nothing that raises alerts is the same in several pods")
    if silent:
        click.echo("# counted, and silent without being declared:")
    for row in silent:
        seen = f"{row['rule']}, up to {row['count']} in each of {row['pods']} pods"
        click.echo(f"# - {{paths: [{json.dumps(row['pattern'])}]}}  {seen}; could hide {row['could_hide']}")
    if silent:
        click.echo("# to be told of such a place instead, give it a level:")
        click.echo(f"# levels: [{{paths: [{json.dumps(silent[0]['pattern'])}], level: Medium}}]")


def _is_meant(workload: Workload, named: str) -> bool:
    if not workload.namespace:
        return named in (workload.name, str(workload), f"{workload.kind}/{workload.name}")
    whole = f"{workload.namespace}/{workload.kind}/{workload.name}"
    return named in (f"{workload.namespace}/{workload.name}", str(workload), whole)


def _relay(arguments: Sequence[str], namespace: str, empty: str = "") -> None:
    said = False
    for chunk in call_in_controller(arguments, namespace=namespace):
        said = bool(sys.stdout.buffer.write(chunk)) or said
    if not said and empty:
        click.echo(empty, err=True)


@dataclass(frozen=True, slots=True)
class _Stores:
    starts: StartStore
    incidents: IncidentStore
    reports: ReportStore


@contextmanager
def _open_stores(state_dir: Path) -> Iterator[_Stores]:
    from intact.adapters.store.incidents import SqlIncidentStore
    from intact.adapters.store.reports import SqlReportStore
    from intact.adapters.store.starts import SqlStartStore
    from intact.run.storage.recorded import open_recorded

    database = open_recorded(state_dir)
    try:
        yield _Stores(SqlStartStore(database), SqlIncidentStore(database), SqlReportStore(database))
    finally:
        database.close()
