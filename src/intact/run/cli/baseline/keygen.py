"""`intact baseline keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from intact.adapters.keys.signing import KEY_TYPES, PRIVATE_SUFFIX, PUBLIC_SUFFIX, generate_key, load_public_key
from intact.baseline.signing import PublicKey
from intact.run.cli.output import check_replaceable

from .files import PATH


@click.command("keygen")
@click.option("-o", "--out", "stem", required=True, type=PATH, metavar="K", help="Makes K.pem (keep it secret) and K.pub.")
@click.option("--type", "key_type", type=click.Choice(KEY_TYPES), default=KEY_TYPES[0], show_default=True, help="The algorithm.")
def command(stem: Path, key_type: str) -> None:
    """Makes a key pair to sign baselines with, and prints its id.

    What was made by openssl serves as well: Ed25519 or ECDSA P-256, unencrypted.
    """
    if stem.suffix in (PRIVATE_SUFFIX, PUBLIC_SUFFIX):
        stem = stem.with_suffix("")
    check_replaceable(stem.with_name(f"{stem.name}{PRIVATE_SUFFIX}"))
    private, public = generate_key(stem, key_type)
    click.echo(f"{private} (private, mode 0600) and {public}", err=True)
    click.echo(PublicKey(load_public_key(public)).id)
