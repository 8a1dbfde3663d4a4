"""`intact baseline pull`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from intact.adapters.layout.names import RegistryName, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.registry.source import RegistrySource
from intact.adapters.store.atomic import write_atomically
from intact.model.errors import InputError, TrustError
from intact.run.cli.output import check_replaceable
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options
from intact.run.cluster.attached import NOT_USED, find_attached
from intact.run.trust import open_trust

from .files import PATH, clean


@click.command("pull")
@click.argument("image")
@click.option("-o", "--out", required=True, type=PATH, metavar="FILE", help="Where to write the baseline.")
@click.option(
    "--trust", multiple=True, required=True, type=PATH, metavar="FILE",
    help="A public key (K.pub) that is trusted to sign, or a trust root; may be repeated.",
)  # fmt: skip
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index; this machine's by default.")
@registry_options
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(image: str, out: Path, trust: tuple[Path, ...], platform: str | None, access: RegistryAccess, output: str) -> None:
    """Fetches the baseline attached to IMAGE, verifies it, and writes it to FILE. No layer is pulled.

    Of several, it is the newest that verifies; why others do not is said. Exit code 10 if none is attached, 11 if none verifies.
    """
    if str(out) == "-":
        raise InputError("a baseline is written to a file, not to stdout", hint="name the file; ./- if it is to be called so")
    check_replaceable(out)
    name = parse_image_name(image)
    if not isinstance(name, RegistryName):
        raise InputError("a baseline is attached to an image in a registry", hint="write docker://HOST/REPO@DIGEST")
    trusted = open_trust(trust, time.time())
    notes: list[str] = []
    source = RegistrySource(name.host, name.repository, name.reference, access=access)
    try:
        with show_progress("pulling") as advance:
            attached = find_attached(
                source, trusted, platform=platform, note=notes.append, progress=lambda done, total: advance("baseline", done, total)
            )
    finally:
        source.close()
        for note in (*notes, *source.notes):
            click.echo(clean(note), err=True)
    if attached is None:
        if any(NOT_USED in note for note in notes):
            raise TrustError(f"none of the baselines attached to {name.repository} verifies", code="NoneVerifies", hint="see above why")
        raise InputError(f"no baseline is attached to {image}", code="NotAttached", hint="attach one: intact baseline push FILE IMAGE")
    write_atomically(out, [memoryview(attached.document)])
    baseline = attached.baseline
    if output == "json":
        told = {
            "key": str(baseline.key),
            "root": str(baseline.root),
            "grade": baseline.grade.title,
            "signer": attached.signer,
            "platform": baseline.platform,
            "artifact": str(attached.artifact),
            "servedBy": attached.served_by,
            "bytes": len(attached.document),
            "notUsed": notes,
        }
        click.echo(json.dumps(told, indent=2))
        return
    entries = sum(len(layer) for layer in baseline.layers)
    click.echo(
        f"{out}: {baseline.key}, {len(baseline.layers)} layers, {entries} entries, {baseline.grade.title} by {attached.signer}", err=True
    )
    click.echo(str(baseline.root))
