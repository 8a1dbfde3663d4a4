"""`intact check`: one look at a directory, or at a running container as the agent looks. Exit code 1 if anything differs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from intact.adapters.linux.tree import open_root
from intact.adapters.runtime.discover import find_container, find_socket
from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.compare.rules import RULES
from intact.model.container import Container
from intact.model.entry import display_path
from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNOBSERVED
from intact.model.finding import Verdict
from intact.model.layer import Baseline
from intact.model.observation import Scope
from intact.model.stated import EVERYTHING, Stated
from intact.observe.walk import walk_tree

from .baseline.files import read_document
from .baseline.inputs import open_document
from .looking import list_containers, look_at
from .output import FINDING_COLUMNS, describe_finding, describe_known, describe_unobserved, print_rows, sort_findings
from .output import OUTPUTS as ROWS
from .progress import show_progress
from .sarif import make_sarif, show_verdicts

_PATH = click.Path(path_type=Path)
OUTPUTS = (*ROWS, "sarif")
SILENT = frozenset(name for name, rule in RULES.items() if not rule.levels)


@click.command()
@click.argument("baseline", type=_PATH, required=False)
@click.option("--root", type=_PATH, metavar="DIR", help="The directory to compare with BASELINE.")
@click.option("--container", metavar="ID", help="A running container of this host: id, unique prefix, name, or NAMESPACE/POD/NAME.")
@click.option(
    "--trust",
    multiple=True,
    type=_PATH,
    metavar="FILE",
    help="Keys or trust roots that count for BASELINE; without, it is taken as it is.",
)
@click.option("--socket", metavar="SOCKET", help="containerd's socket; found by itself where it is in a usual place.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="With --container: also read the image's read-only layers.")
@click.option("--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="How to print the result.")
def command(
    baseline: Path | None, root: Path | None, container: str | None, trust: tuple[Path, ...], socket: str | None, layers: bool, output: str
) -> int:
    """Compares once, and says what differs.

    \b
    intact check BASELINE --root DIR     a directory with a baseline file
    intact check --container ID          a running container with its image,
                                         read from the runtime's own store:
                                         its files, and what runs in it

    A container is judged as the agent judges it, by the default rules: no policy is known here, nor what other pods start with.
    As JSON come the findings (`"type": "finding"`), the worst first, and what could not be looked at (`"unobserved"`); nothing where all is
    as it should be.

    Exit codes: 0 clean, 1 findings, 3 no findings but not everything could be looked at.
    """
    if container is not None and (baseline is not None or root is not None):
        raise click.UsageError("--container builds the baseline itself: give neither BASELINE nor --root")
    if container is not None:
        verdicts, stated = _check_container(container, socket, with_layers=layers), EVERYTHING
    elif baseline is not None and root is not None:
        expected = _load(baseline, trust)
        verdicts, stated = [_check_root(expected, root)], expected.stated
    else:
        raise click.UsageError("give BASELINE and --root DIR, or --container ID")
    return _tell(verdicts, output, stated)


def _load(file: Path, trust: tuple[Path, ...]) -> Baseline:
    return open_document(read_document(file), trust, str(file))[0]


def _check_root(baseline: Baseline, root: Path) -> Verdict:
    place = Container(id=str(root), name=str(root), image="", image_key=None, node=os.uname().nodename)
    with show_progress("reading") as advance, open_root(root) as tree:
        observation = walk_tree(
            place,
            tree,
            clock=time.time,
            algorithms=baseline.compared_by,
            progress=lambda entries, size: advance(f"{entries} entries", size, 0),
        )
    return judge(baseline, observation, compare(baseline, observation))


def _check_container(wanted: str, socket: str | None, *, with_layers: bool) -> list[Verdict]:
    address = find_socket(socket)
    listed = list_containers(address)
    return list(look_at(find_container(listed, wanted), address, with_layers=with_layers, beside=listed).verdicts)


def _tell(verdicts: list[Verdict], output: str, stated: Stated) -> int:
    findings = sort_findings(finding for verdict in verdicts for finding in verdict.findings)
    unobserved = [one for verdict in verdicts for one in verdict.unobserved]
    rows = [describe_finding(finding) | {"expected": describe_known(finding.difference.expected, stated)} for finding in findings]
    match output:
        case "sarif":
            click.echo(json.dumps(make_sarif([show_verdicts(verdicts)]), indent=2))
        case "table":
            print_rows(rows, FINDING_COLUMNS, output, "intact: nothing differs from the image")
        case _:
            print_rows([*rows, *map(describe_unobserved, unobserved)], {}, output, "")
    if not stated.is_everything:
        click.echo(f"not compared, as the list does not state it: {', '.join(stated.name_missing())}", err=True)
    for grade, root in dict.fromkeys((v.grade, v.baseline_root) for v in verdicts if v.grade is not None):
        click.echo(f"compared with a baseline of grade {grade.title}, root {root}", err=True)
    for verdict in verdicts:
        for aggregate in verdict.aggregates:
            is_silent = aggregate.rule in SILENT or verdict.scope is Scope.LIVE
            what = "not counted as drift" if is_silent else "more findings, not told one by one"
            click.echo(f"{what}: {aggregate.count:,} like {aggregate.pattern} ({aggregate.rule})", err=True)
    for one in unobserved:
        click.echo(f"not observed: {display_path(one.path)}: {one.reason}", err=True)
    if findings:
        return EXIT_FINDINGS
    return EXIT_UNOBSERVED if unobserved else EXIT_CLEAN
