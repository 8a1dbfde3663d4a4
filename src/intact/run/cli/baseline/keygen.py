"""`intact baseline keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from intact.adapters.keys.signing import generate_key, load_public_key
from intact.baseline.signing import PublicKey

from .files import PATH


@click.command("keygen")
@click.option("-o", "--out", "stem", required=True, type=PATH, metavar="K", help="Makes K.pem (keep it secret) and K.pub.")
def command(stem: Path) -> None:
    """Makes an Ed25519 key pair to sign baselines with."""
    private, public = generate_key(stem)
    click.echo(f"{private} (private, mode 0600) and {public}", err=True)
    click.echo(PublicKey(load_public_key(public)).id)
