"""`intact baseline show`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from intact.baseline.formats import describe

from .files import PATH, clean, load_baseline, trust_option


@click.command("show")
@click.argument("file", type=PATH)
@trust_option
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(file: Path, trust: tuple[Path, ...], output: str) -> None:
    """Shows what FILE is a baseline of. Without --trust it is shown as FirstSeen: nobody vouches for it."""
    baseline = load_baseline(file, trust, allow_unsigned=not trust)
    described = describe(baseline)
    if output == "json":
        click.echo(json.dumps(described, indent=2))
        return
    for name in ("key", "root", "grade", "source", "platform"):
        click.echo(f"{name:<9} {clean(str(described[name]))}")
    for alias in baseline.aliases:
        click.echo(f"{'alias':<9} {clean(alias)}")
    click.echo(f"{'LAYER':<6}{'ENTRIES':>9}  DIFF ID")
    for index, layer in enumerate(baseline.layers, 1):
        click.echo(f"{index:<6}{len(layer):>9}  {layer.diff_id}")
