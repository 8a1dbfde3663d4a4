"""`intact baseline push`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from intact.adapters.layout.names import RegistryName, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.baseline.document import load_document, split_document
from intact.baseline.signing import open_envelope
from intact.model.errors import InputError
from intact.run.attached import push_attached
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options
from intact.run.trust import open_trust

from .files import PATH, read_document, trust_option


@click.command("push")
@click.argument("file", type=PATH)
@click.argument("image")
@trust_option
@registry_options
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(file: Path, image: str, trust: tuple[Path, ...], access: RegistryAccess, output: str) -> None:
    """Attaches the signed baseline FILE to IMAGE in its registry, where `intact baseline pull` and the controller find it.

    IMAGE is docker://HOST/REPO@DIGEST or docker://HOST/REPO:TAG. Of an index, the baseline goes to the manifest that it is the baseline of.
    """
    name = parse_image_name(image)
    if not isinstance(name, RegistryName):
        raise InputError("a baseline is attached to an image in a registry", hint="write docker://HOST/REPO@DIGEST")
    document = read_document(file)
    trusted = open_trust(trust, time.time())
    envelope, _ = split_document(memoryview(document))
    if not open_envelope(envelope, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=not trust).signatures:
        raise InputError(f"{file} is not signed: nobody would believe it", hint="sign it: intact baseline sign, or build it with --key")
    baseline = load_document(document, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=not trust)
    with show_progress("pushing") as advance:
        pushed = push_attached(
            access, name.host, name.repository, name.reference, memoryview(document), baseline, now=time.time(),
            progress=lambda done, total: advance("baseline", done, total),
        )  # fmt: skip
    if output == "json":
        told = {
            "key": str(pushed.key),
            "root": str(pushed.root),
            "subject": f"{name.host}/{name.repository}@{pushed.subject}",
            "platform": pushed.platform,
            "artifact": str(pushed.artifact),
            "found": pushed.how,
            "bytes": len(document),
        }
        click.echo(json.dumps(told, indent=2))
        return
    where = "the referrers API" if pushed.how == "api" else "a referrers tag: the registry has no referrers API"
    platform = f" ({pushed.platform})" if pushed.platform else ""
    click.echo(f"attached to {name.host}/{name.repository}@{pushed.subject}{platform}, found by {where}", err=True)
    click.echo(f"{name.host}/{name.repository}@{pushed.artifact}")
