"""`intact baseline export`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from intact.baseline.formats import FORMATS, export
from intact.model.errors import InputError

from .files import PATH, load_baseline, trust_option


@click.command("export")
@click.argument("file", type=PATH)
@click.option("--format", "form", type=click.Choice(FORMATS), default="sha256sum", show_default=True, help="What to write.")
@click.option("--prefix", default="", metavar="DIR", help="Put DIR before every path: where the image's tree is mounted (sha256sum only).")
@trust_option
def command(file: Path, form: str, prefix: str, trust: tuple[Path, ...]) -> None:
    """Writes FILE's entries to stdout, as `sha256sum -c` or a program reads them."""
    if prefix and form != "sha256sum":
        raise InputError("--prefix is for sha256sum only")
    baseline = load_baseline(file, trust, allow_unsigned=not trust)
    if not trust:
        click.echo("not verified: no --trust given", err=True)
    stdout = sys.stdout.buffer
    for line in export(baseline, form, prefix=os.fsencode(prefix)):
        stdout.write(line)
    stdout.flush()
