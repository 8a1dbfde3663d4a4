"""`intact baseline export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from intact.adapters.layout.names import DEFAULT_CONTAINERD
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.atomic import write_atomically
from intact.baseline.formats.export import CHECKSUMS, FORMATS, Export, export
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.snapshots import SCHEME, SnapshotName, file_name
from intact.model.digest import SIZES, Algorithms
from intact.model.errors import InputError
from intact.model.layer import Baseline
from intact.run.cli.output import check_replaceable
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options

from .files import PATH, trust_option
from .inputs import Opening, open_named, tell_losses

SNAPSHOTS = "snapshots"
BUFFER_BYTES = 1 << 18


@click.command("export")
@click.argument("source")
@click.option("--format", "form", type=click.Choice((*FORMATS, SNAPSHOTS)), default="sha256sum", show_default=True, help="What to write.")
@click.option("-o", "--out", type=PATH, metavar="FILE", help="Where to write it, whole or not at all; stdout by default, and for -.")
@click.option("--algorithm", type=click.Choice(sorted(SIZES)), help="Of checksums: which one; the deciding one by default.")
@click.option("--prefix", default="", metavar="DIR", help="Of checksums: put DIR before every path, where the image's tree is mounted.")
@click.option("-z", "--zero", is_flag=True, help="Of checksums: end lines with NUL, and escape nothing.")
@click.option("--name", metavar="NAMESPACE/IMAGE/TAG", help="Of snapshots: whose they are; FILE is then a directory.")
@click.option("--platform", metavar="OS/ARCH", help="Of an image: which one of an index.")
@registry_options
@click.option("--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket.")
@trust_option
def command(
    source: str, form: str, out: Path | None, algorithm: str | None, prefix: str, zero: bool, name: str | None, platform: str | None,
    access: RegistryAccess, containerd: str, trust: tuple[Path, ...],
) -> None:  # fmt: skip
    """Writes SOURCE in a format that other programs read, and says on stderr what that format cannot hold.

    SOURCE is a baseline file, a list that `intact baseline import` reads, or an image (docker://…, oci:…, dir:…).
    """
    if out is not None and str(out) == "-":
        out = None
    is_list = form in ("checksums", *CHECKSUMS)
    if (prefix or zero) and not is_list:
        raise InputError("--prefix and -z are for checksum lists only", hint="leave them out")
    if algorithm and form != "checksums":
        raise InputError("--algorithm is for --format checksums", hint="leave it out")
    if (name or form == SNAPSHOTS) and not (form == SNAPSHOTS and out):
        raise InputError("--format snapshots needs -o DIR, and --name is for it alone")
    if out is not None and form != SNAPSHOTS:
        check_replaceable(out)
    wanted = algorithm or CHECKSUMS.get(form)
    how = Opening(trust=trust, access=access, containerd=containerd, platform=platform)
    named = open_named(source, how, Algorithms.choose([wanted]) if wanted else None)
    if form == SNAPSHOTS and out is not None:
        _write_snapshots(named.baseline, _choose_name(named.baseline, name), out)
        return
    what = Export(
        baseline=named.baseline, envelope=named.envelope, algorithm=algorithm or "", prefix=os.fsencode(prefix), zero=zero
    )  # fmt: skip
    losses = Losses()
    with show_progress("writing") as advance:
        parts = _buffer(export(what, form, losses), lambda count, size: advance(f"{count:,} lines", size, 0))
        if out is not None:
            write_atomically(out, parts)
        else:
            _write_stdout(parts)
    tell_losses(losses, "not in this format")


def _choose_name(baseline: Baseline, name: str | None) -> SnapshotName:
    if name is None and baseline.source.startswith(SCHEME):
        name = baseline.source.removeprefix(SCHEME)
    if name is None:
        raise InputError("whose snapshot is it?", hint="--name NAMESPACE/IMAGE/TAG")
    return SnapshotName.parse(name)


def _write_snapshots(baseline: Baseline, name: SnapshotName, directory: Path) -> None:
    """One file an algorithm."""
    names = baseline.algorithms.further if baseline.stated.is_weak else baseline.algorithms.names
    for algorithm in names:
        file = directory / file_name(name, algorithm)
        file.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(file)
        losses = Losses()
        write_atomically(file, _buffer(export(Export(baseline=baseline, algorithm=algorithm), "checksums", losses), lambda *_: None))
        click.echo(str(file))
        tell_losses(losses, f"not in {file}")


def _buffer(parts: Iterable[bytes], advance: Callable[[int, int], None]) -> Iterator[bytes]:
    """The same bytes in pieces worth writing."""
    held: list[bytes] = []
    size = total = 0
    for count, part in enumerate(parts, 1):
        held.append(part)
        size += len(part)
        if size >= BUFFER_BYTES:
            total += size
            advance(count, total)
            yield b"".join(held)
            held.clear()
            size = 0
    yield b"".join(held)


def _write_stdout(parts: Iterator[bytes]) -> None:
    stdout = sys.stdout.buffer
    for part in parts:
        stdout.write(part)
    stdout.flush()
