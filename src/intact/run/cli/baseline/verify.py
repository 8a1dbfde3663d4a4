"""`intact baseline verify`."""

from __future__ import annotations

from pathlib import Path

import click

from .files import PATH, load_baseline


@click.command("verify")
@click.argument("file", type=PATH)
@click.option("--trust", multiple=True, required=True, type=PATH, metavar="K.pub", help="A key that is trusted to sign; may be repeated.")
def command(file: Path, trust: tuple[Path, ...]) -> None:
    """Checks that FILE is whole and signed by a trusted key. Exit code 11 if not."""
    baseline = load_baseline(file, trust, allow_unsigned=False)
    click.echo(f"{baseline.grade.title} {baseline.key} root {baseline.root}")
