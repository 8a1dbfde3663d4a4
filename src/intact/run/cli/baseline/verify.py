"""`intact baseline verify`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from intact.baseline.document import load_document, split_document
from intact.baseline.signing import open_envelope
from intact.run.trust import open_trust, read_trust_root

from .files import PATH, clean, naming, read_document


@click.command("verify")
@click.argument("file", type=PATH)
@click.option(
    "--trust", multiple=True, required=True, type=PATH, metavar="FILE",
    help="A public key (K.pub) that is trusted to sign, or a trust root; may be repeated.",
)  # fmt: skip
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(file: Path, trust: tuple[Path, ...], output: str) -> None:
    """Checks that FILE is whole and signed by a trusted key, and says who signed it and who of them counts. Exit code 11 if not."""
    trusted = open_trust(trust, time.time())
    names = {one.key.id: one.name for path in trust for one in read_trust_root(path).keys}
    document = read_document(file)
    with naming(str(file)):
        baseline = load_document(document, trusted=trusted.keys, refused=trusted.refused, allow_listing=True)
    envelope, _ = split_document(memoryview(document))
    signatures = open_envelope(envelope, trusted=trusted.keys, refused=trusted.refused).signatures
    if output == "json":
        described = [{"keyId": one.key_id, "name": names.get(one.key_id, ""), "counts": one.counts, "why": one.why} for one in signatures]
        told = {"key": str(baseline.key), "root": str(baseline.root), "grade": baseline.grade.title, "signatures": described}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"{baseline.grade.title} {baseline.key} root {baseline.root}")
    for one in signatures:
        name = names.get(one.key_id, "")
        verdict = "counts" if one.counts else f"does not count: {one.why}"
        click.echo(f"signed by {clean(one.key_id[:100])}{f' ({clean(name)})' if name else ''}: {clean(verdict)}")
