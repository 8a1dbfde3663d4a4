"""`intact baseline sign`."""

from __future__ import annotations

from pathlib import Path

import click

from intact.adapters.keys.signing import load_private_key
from intact.adapters.store.atomic import write_atomically
from intact.baseline.document import load_document, replace_envelope, split_document
from intact.baseline.signing import KeySigner, add_signature
from intact.run.cli.output import check_replaceable

from .files import PATH, naming, read_document


@click.command("sign")
@click.argument("file", type=PATH)
@click.option("--key", required=True, type=PATH, metavar="K.pem", help="The private key to sign with.")
@click.option("--replace", is_flag=True, help="Put the signature in the place of all others, instead of beside them.")
@click.option("-o", "--out", type=PATH, metavar="OUT", help="Write the signed baseline there; by default FILE itself is replaced.")
def command(file: Path, key: Path, replace: bool, out: Path | None) -> None:
    """Adds a signature to FILE, after checking that FILE is whole.

    A signature says that you vouch for what FILE states of the image. Who else signed it is not checked: see `verify`.
    """
    target = out or file
    check_replaceable(target)
    signer = KeySigner(load_private_key(key))
    document = read_document(file)
    with naming(str(file)):
        baseline = load_document(document, allow_unsigned=True, allow_listing=True)  # every table has the root that the statement names
        envelope, _ = split_document(memoryview(document))
        signed = replace_envelope(document, add_signature(envelope, signer, replace=replace))
    load_document(signed, trusted=[signer.public], allow_listing=True)
    write_atomically(target, [signed])
    click.echo(f"{target}: {baseline.key}, signed by {signer.public.id}", err=True)
    click.echo(str(baseline.root))
