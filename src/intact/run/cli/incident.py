"""`intact incident`: what is wrong with which workload, why, and what was done about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from intact.model.errors import InputError

from .output import output_option, print_rows
from .source import Row, clean, count_of, describe_age, open_source, parse_instant, state_option

CAUSES = {
    "Container": "something happened inside this container; its image is not to blame",
    "Revision": "it comes with this revision: the same in several pods on several nodes, or again in a clean replacement",
    "Node": "the node's copy of the image is not the image, or it says of an image what others do not",
    "ImageTrust": "a signature that is required is missing, does not verify, or its key was revoked",
    "Unknown": "something needed for the answer could not be observed",
}
_SHOWN_NAMES = 20
namespace_option = click.option("-n", "--namespace", default="", metavar="NS", help="Namespace; without it, the kubeconfig's own.")


@click.group(short_help="Lists and shows incidents.")
def command() -> None:
    """Lists and shows incidents: of the cluster of your kubeconfig, or of `intact watch` on this host."""


@command.command("list")
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Incidents of all namespaces.")
@state_option
@output_option
def list_incidents(namespace: str, all_namespaces: bool, state: Path | None, output: str) -> None:
    """Lists incidents, the last seen first."""
    if namespace and all_namespaces:
        raise click.UsageError("give -n NS or -A, not both")
    with open_source(state) as source:
        wanted = "" if all_namespaces else namespace or source.namespace
        rows = source.incidents(wanted)
    where = f" in namespace {clean(wanted)} (-A: all)" if wanted else ""
    print_rows(rows, _list_columns(time.time()), output, f"no incidents{where}")


@command.command()
@click.argument("name")
@namespace_option
@state_option
@output_option
def show(name: str, namespace: str, state: Path | None, output: str) -> None:
    """Shows one incident: workload, cause, pods, paths with expected and actual, and what was done."""
    with open_source(state) as source:
        wanted = namespace or source.namespace
        incident = source.incident(name, wanted)
        if incident is None:
            where = f" in namespace {clean(wanted)}" if wanted else ""
            raise InputError(f"there is no incident {clean(name)}{where}", hint="`intact incident list -A` names them all")
        actions = source.actions(name, str(incident["namespace"]))
        incident["baselines"] = [{**(source.baseline(one["key"]) or {}), **one} for one in incident["baselines"]]
    if output == "table":
        print_incident(incident, actions, time.time())
    else:
        print_rows([{**incident, "actions": actions}], {}, output, "")


def _list_columns(now: float) -> Mapping[str, Callable[[Mapping[str, Any]], str]]:
    return {
        "NAMESPACE": lambda row: clean(row["namespace"], 63) or "-",
        "NAME": lambda row: clean(row["incident"], 253),
        "WORKLOAD": lambda row: clean(row["workload"], 120),
        "CAUSE": lambda row: clean(row["cause"], 20),
        "LEVEL": lambda row: clean(row["level"], 20),
        "PODS": lambda row: str(row["pod_count"]),
        "NODES": lambda row: str(row["node_count"]),
        "ACTION": lambda row: clean(row["action"], 80) or "-",
        "STATE": lambda row: clean(row["state"], 20),
        "AGE": lambda row: describe_age(parse_instant(row["first_seen"]), now),
    }


def print_incident(incident: Row, actions: Sequence[Row], now: float) -> None:
    cause = str(incident["cause"])
    explained = incident["explanation"] or CAUSES.get(cause, "")
    lines = {
        "incident": "/".join(filter(None, (incident["namespace"], incident["incident"]))),
        "workload": incident["workload"],
        "state": incident["state"],
        "level": incident["level"],
        "cause": f"{cause}: {explained}" if explained else cause,
        "policy": incident["policy"] or "none governs it: observed only",
        "first seen": _instant(incident["first_seen"], now),
        "last seen": _instant(incident["last_seen"], now),
        "pods": _names(incident["pods"], incident["pod_count"]),
        "nodes": _names(incident["nodes"], incident["node_count"]),
    }
    for title, text in lines.items():
        click.echo(f"{title + ':':<12}{clean(text, 2048)}")
    for one in incident["baselines"]:
        click.echo(f"{'baseline:':<12}{clean(_describe_baseline(one), 2048)}")
    if incident["matters"]:
        click.echo(f"\n{count_of(incident['matter_count'], 'matter')} held against it, the gravest first")
        for matter in incident["matters"]:
            click.echo(f"  {clean(matter['level'], 20):<9}{clean(matter['text'], 2048)} (since {clean(matter['since'], 40)})")
        unlisted = incident["matter_count"] - len(incident["matters"])
        if unlisted > 0:
            click.echo(f"  and {unlisted} more: intact audit show --incident {clean(incident['incident'])}")
    if incident["count"] or not incident["matters"]:
        click.echo(f"\n{count_of(incident['count'], 'finding')}, the gravest first")
    for path in incident["paths"]:
        click.echo(f"  {clean(path['level'], 20):<9}{clean(path['change'], 20):<9}{clean(path['path'], 4096)}")
        click.echo(f"           {clean(path['expected'], 512)} → {clean(path['actual'], 512)}")
    if incident["omitted_paths"]:
        click.echo(f"  and {incident['omitted_paths']} more: intact audit show --incident {clean(incident['incident'])}")
    click.echo(f"\n{count_of(len(actions), 'action')}" if actions else "\nno action was decided")
    for action in actions:
        revision = f" revision {action['revision']}" if action["revision"] else ""
        click.echo(f"  {clean(action['decided_at'], 40)}  {clean(action['action'], 20)}  {clean(action['phase'], 20)}{clean(revision, 80)}")
        for text in dict.fromkeys(text for text in (action["reason"], action["message"]) if text):
            click.echo(f"    {clean(text, 2048)}")


def _describe_baseline(one: Row) -> str:
    """`Verified, of image sha256:…, root sha256:…, from docker://…, signed by sha256:…`."""
    parts = [str(one["grade"]), f"of image {one['key']}" if one["key"] else "of an image without a key", f"root {one['root']}"]
    parts += [f"from {one['source']}"] if one.get("source") else []
    parts += [f"signed by {', '.join(one['signers'])}"] if one.get("signers") else []
    return ", ".join(parts)


def _instant(text: str, now: float) -> str:
    return f"{text} ({describe_age(parse_instant(text), now)} ago)" if text else "-"


def _names(names: Sequence[str], total: int) -> str:
    more = f" and {total - _SHOWN_NAMES} more" if total > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more if names else "-"
