"""`intact check`: one look at a directory or a running container, against its baseline. Exit code 1 if anything differs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from intact.adapters.layout.names import DirectoryName, open_image, parse_image_name
from intact.adapters.linux.tree import open_root
from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.discover import find_container, find_socket
from intact.baseline.table import seal_table
from intact.compare.differ import compare, compare_layer
from intact.compare.judge import judge, judge_layers
from intact.compare.rules import RULES
from intact.ingest.image import Progress, ingest
from intact.model.container import Container, Running
from intact.model.digest import Digest
from intact.model.entry import display_path
from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNOBSERVED, InputError
from intact.model.finding import Difference, Verdict
from intact.model.layer import Baseline
from intact.model.observation import Unobserved
from intact.model.stated import EVERYTHING, Stated
from intact.observe.walk import walk_tree
from intact.run.node.eyes import HostEyes, HostMounts

from .baseline.files import read_document
from .baseline.inputs import open_document
from .output import FINDING_COLUMNS, describe_finding, describe_known, output_option, print_rows, sort_findings
from .progress import show_progress

_PATH = click.Path(path_type=Path)
UNTHROTTLED = 1 << 40
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
@output_option
def command(
    baseline: Path | None, root: Path | None, container: str | None, trust: tuple[Path, ...], socket: str | None, layers: bool, output: str
) -> int:
    """Compares once, and says what differs.

    \b
    intact check BASELINE --root DIR     a directory with a baseline file
    intact check --container ID          a running container with its image,
                                         read from the runtime's own store

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
    runtime = Containerd(address, HostMounts())
    try:
        running = find_container(runtime.list_running(os.uname().nodename), wanted)
    finally:
        runtime.close()
    if running.mounted is None:
        raise InputError(f"the files of {running.container.name} cannot be seen: {running.unobservable}", code="Unobservable")
    if running.container.image_key is None:
        raise InputError(f"the image of {running.container.name} cannot be told: {running.unkeyed}", code="Unkeyed")
    baseline = _build(running.container.image_key, address)
    eyes = HostEyes(layer_rate_bytes_s=UNTHROTTLED)
    observation = eyes.look(running, baseline, None)
    if observation is None:
        raise InputError(f"{running.container.name} is gone", code="Gone")
    verdicts = [judge(baseline, observation, compare(baseline, observation))]
    if with_layers:
        verdicts.append(_check_layers(running, baseline, eyes))
    return verdicts


def _build(key: Digest, address: str) -> Baseline:
    source = open_image(parse_image_name(f"containerd:{key}"), containerd=address)
    assert not isinstance(source, DirectoryName), "a containerd: name is never a directory"
    with show_progress("baseline") as advance:

        def report(at: Progress) -> None:
            advance(f"layer {at.layer}/{at.layers}", at.bytes_done, at.bytes_total, f"{at.entries:,} entries")

        return ingest(source, progress=report, seal=seal_table)


def _check_layers(running: Running, baseline: Baseline, eyes: HostEyes) -> Verdict:
    mounted = running.mounted
    assert mounted is not None
    now = time.time()
    if len(mounted.lowers) != len(baseline.layers):
        reason = f"the runtime mounts {len(mounted.lowers)} read-only layers, the image has {len(baseline.layers)}"
        return judge_layers(running.container, baseline, (), (Unobserved(path=b"/", reason=reason),), now)
    differences: list[Difference] = []
    with show_progress("layers") as advance:
        for number, (directory, table) in enumerate(zip(mounted.lowers, reversed(baseline.layers), strict=True), 1):
            advance(f"layer {number}/{len(mounted.lowers)} on disk", 0, 0)
            differences += compare_layer(table, eyes.read_layer(running, directory, baseline.compared_by))
    return judge_layers(running.container, baseline, differences, (), now)


def _tell(verdicts: list[Verdict], output: str, stated: Stated) -> int:
    findings = sort_findings(finding for verdict in verdicts for finding in verdict.findings)
    unobserved = [one for verdict in verdicts for one in verdict.unobserved]
    rows = [describe_finding(finding) | {"expected": describe_known(finding.difference.expected, stated)} for finding in findings]
    print_rows(rows, FINDING_COLUMNS, output, "intact: nothing differs from the image")
    if not stated.is_everything:
        click.echo(f"not compared, as the list does not state it: {', '.join(stated.name_missing())}", err=True)
    for grade, root in dict.fromkeys((v.grade, v.baseline_root) for v in verdicts if v.grade is not None):
        click.echo(f"compared with a baseline of grade {grade.title}, root {root}", err=True)
    for verdict in verdicts:
        for aggregate in verdict.aggregates:
            what = "not counted as drift" if aggregate.rule in SILENT else "more findings, not told one by one"
            click.echo(f"{what}: {aggregate.count:,} like {aggregate.pattern} ({aggregate.rule})", err=True)
    for one in unobserved:
        click.echo(f"not observed: {display_path(one.path)}: {one.reason}", err=True)
    if findings:
        return EXIT_FINDINGS
    return EXIT_UNOBSERVED if unobserved else EXIT_CLEAN
