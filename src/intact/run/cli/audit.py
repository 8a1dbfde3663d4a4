"""`intact audit`: reading the record, taking it elsewhere, and proving that nobody edited it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from intact.audit.note import NoteKey
from intact.audit.ports import Query
from intact.audit.record import Leaf, LeafKind, format_time
from intact.audit.verify import MAX_LINE_BYTES, verify_export
from intact.model.entry import display_path
from intact.model.errors import InputError, PermanentError

from .in_cluster import NAMESPACE, call_in_controller
from .output import check_replaceable, output_option, print_rows

STATES = (Path("/var/lib/intact"), Path("/var/lib/intact-watch"))
"""The controller's, and that of `intact watch`."""


def _find_state() -> Path:
    return next((state for state in STATES if (state / "intact.db").exists()), STATES[0])


state_option = click.option(
    "--state",
    "--state-dir",
    "state_dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="INTACT_STATE_DIR",
    default=_find_state,
    show_default=" or ".join(map(str, STATES)),
    help="State directory of the controller or of `intact watch` (INTACT_STATE_DIR).",
)

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def command() -> None:
    """Reads, exports and verifies the audit log."""


@command.command()
@click.argument("export", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", "keys", type=click.Path(path_type=Path), multiple=True, required=True, help="Public key that must have signed.")
@click.option("--checkpoint", "checkpoints", type=click.Path(path_type=Path), multiple=True, help="Signed checkpoint kept from earlier.")
@click.option("--save-checkpoint", type=click.Path(path_type=Path), help="Where to keep the last checkpoint once the export has verified.")
def verify(export: Path, keys: tuple[Path, ...], checkpoints: tuple[Path, ...], save_checkpoint: Path | None) -> None:
    """Proves that EXPORT is what was recorded; needs nothing but the file and the key.

    Every edit, removal, reordering and addition is found, and named with its leaf. That the end was not cut off is only provable with a
    checkpoint kept from earlier.
    """
    trusted = [NoteKey.parse(_read_text(path)) for path in keys]
    kept = [_read_text(path).encode() for path in checkpoints]
    kinds: dict[str, int] = {}
    total = 0

    def note_total(leaves: int) -> None:
        nonlocal total
        total = leaves

    with _progress("verifying") as advance:

        def count(index: int, leaf: Leaf) -> None:
            kinds[leaf.kind] = kinds.get(leaf.kind, 0) + 1
            if index % 100 == 0:
                advance(index, total)

        result = verify_export(
            _read_lines(export), trusted, kept=kept, on_leaf=count, on_header=lambda header: note_total(header.leaves)
        )  # fmt: skip
    if save_checkpoint is not None:
        _write_file(save_checkpoint, iter([result.note]))
    click.echo(f"verified: {result.checkpoint.size} leaves, {result.checkpoints} checkpoints of {result.checkpoint.origin}")
    click.echo(f"root:     sha256:{result.checkpoint.root.hex()}")
    for key in result.keys:
        click.echo(f"signed:   {key}")
    for kind in sorted(kinds):
        click.echo(f"  {kinds[kind]:>8} {_clean(kind)}")
    if not kept:
        click.echo("That nothing was cut off its end is proven only with --checkpoint, a checkpoint kept from earlier.", err=True)


@command.command()
@state_option
@click.option("--since", help="From then on: 10m, 2h, 3d ago, or a time such as 2027-01-31T12:00:00Z.")
@click.option("--until", help="Before then; as --since.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in LeafKind]), help="Only these kinds.")
@click.option("--workload", default="", help="Only this workload: shop/web, or 'Deployment shop/web'.")
@click.option("--incident", default="", help="Only this incident: its id.")
@output_option
def show(state_dir: Path, since: str | None, until: str | None, kinds: tuple[str, ...], workload: str, incident: str, output: str) -> None:
    """Shows what was recorded, as it stands in the store; `export` and `verify` prove it."""
    from intact.audit.query import find_leaves

    now = time.time()
    query = Query(
        since=parse_since(since, now) if since else None,
        until=parse_since(until, now) if until else None,
        kinds=frozenset(kinds),
        workload=workload,
        incident=incident,
    )
    with _open_store(state_dir) as store:
        rows = (_describe(index, leaf) for index, leaf in find_leaves(store, query))
        if output == "jsonl":
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False))
        else:
            print_rows(list(rows), COLUMNS, output, "nothing recorded that matches")


@command.command()
@state_option
@click.option("--cluster", "in_cluster", is_flag=True, help="The log of the controller in the cluster that kubectl talks to.")
@click.option("-n", "--namespace", default=NAMESPACE, show_default=True, help="With --cluster: where Intact is installed.")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), required=True, help="File to write; - is stdout.")
def export(state_dir: Path, in_cluster: bool, namespace: str, file: Path) -> None:
    """Writes the whole log to one file that `verify` can prove without this host."""
    from intact.audit.export import export_log

    if in_cluster:
        _write_out(file, call_in_controller(["audit", "export", "-o", "-"], namespace=namespace))
        return
    with _open_store(state_dir) as store, _progress("exporting") as advance:
        header, lines = export_log(store)

        def counted() -> Iterator[bytes]:
            for number, line in enumerate(lines):
                if number % 100 == 0:
                    advance(number, header.leaves + header.checkpoints)
                yield line

        _write_out(file, counted())
    click.echo(f"exported {header.leaves} leaves and {header.checkpoints} checkpoints of {header.origin}", err=True)


COLUMNS: dict[str, Callable[[Any], str]] = {
    "LEAF": lambda row: str(row["leaf"]),
    "TIME": lambda row: row["at"][:19] + "Z",
    "KIND": lambda row: row["kind"],
    "NODE": lambda row: _clean(row["node"]) or "-",
    "WORKLOAD": lambda row: _clean(row["workload"]) or "-",
    "INCIDENT": lambda row: _clean(row["incident"])[:12] or "-",
    "WHAT": lambda row: _clean(summarise(row["kind"], row["body"])),
}


def summarise(kind: str, body: Any) -> str:
    """One leaf in a few words."""
    match kind:
        case LeafKind.FINDING:
            return f"{body.get('level')} {body.get('change')} {body.get('path')}"
        case LeafKind.VERDICT:
            unobserved = f", {body.get('unobserved_count')} unobserved" if body.get("unobserved_count") else ""
            return f"{body.get('state')} {body.get('container_name')}: {body.get('findings_count')} findings{unobserved}"
        case LeafKind.CLEAN:
            return f"{len(body.get('containers', []))} verdicts Intact, {body.get('looks')} looks"
        case LeafKind.INCIDENT_OPENED | LeafKind.INCIDENT_CHANGED | LeafKind.INCIDENT_RESOLVED:
            return f"{body.get('level')} cause {body.get('cause')}, {body.get('count')} findings in {body.get('pods_count')} pods"
        case LeafKind.DECISION:
            refused = f", refused: {body.get('refused')}" if body.get("refused") else ""
            return f"{body.get('action')}: {body.get('reason')}{refused}"
        case LeafKind.OUTCOME:
            return f"{body.get('action')} {body.get('phase')}: {body.get('message')}"
        case _:
            return ", ".join(f"{name} {value}" for name, value in body.items() if isinstance(value, str | int) and value != "")


def parse_since(text: str, now: float) -> float:
    """`90s`, `10m`, `2h`, `3d` before `now`, or an RFC 3339 time (UTC where it names no zone), in Unix seconds. Raises InputError."""
    if match := re.fullmatch(r"([0-9]{1,9})([smhd])", text, re.ASCII):
        return now - int(match[1]) * UNITS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"not a time: {text[:60]!r}", hint="write 10m, 2h, 3d, or 2027-01-31T12:00:00Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _describe(index: int, leaf: Leaf) -> dict[str, Any]:
    return {
        "leaf": index,
        "at": format_time(leaf.at),
        "kind": leaf.kind,
        "node": leaf.node,
        "workload": leaf.workload,
        "incident": leaf.incident,
        "body": leaf.body,
    }


@contextmanager
def _open_store(state_dir: Path) -> Iterator[Any]:
    from intact.adapters.store.leaves import SqlLeafStore
    from intact.run.storage.recorded import open_recorded

    database = open_recorded(state_dir)
    try:
        yield SqlLeafStore(database)
    finally:
        database.close()


def _read_lines(path: Path) -> Iterator[bytes]:
    """The file's lines, none longer than a verifier accepts."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                yield line
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file") from None


def _write_out(file: Path, chunks: Iterator[bytes]) -> None:
    if str(file) == "-":
        sys.stdout.buffer.writelines(chunks)
    else:
        _write_file(file, chunks)


def _write_file(path: Path, chunks: Iterator[bytes]) -> None:
    """Whole or not at all: written beside, synced, then renamed."""
    check_replaceable(path)
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise PermanentError(f"cannot write {path}: {error.strerror}", hint="nothing was left behind; choose another place") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _clean(text: str) -> str:
    """Text of the record for a terminal."""
    return display_path(text.encode("utf-8", "backslashreplace"), 200)
