"""`intact baseline push`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from intact.adapters.layout.names import RegistryName, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.baseline.document import load_document, split_document
from intact.baseline.signing import open_envelope
from intact.model.errors import InputError
from intact.model.layer import Baseline
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options
from intact.run.cluster.attached import push_attached, push_standing_alone
from intact.run.trust import open_trust

from .files import PATH, naming, read_document, trust_option


@click.command("push")
@click.argument("file", type=PATH)
@click.argument("image")
@click.option("--alone", is_flag=True, help="Attach it to nothing: IMAGE is where it is put, docker://HOST/REPO[:TAG].")
@trust_option
@registry_options
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(file: Path, image: str, alone: bool, trust: tuple[Path, ...], access: RegistryAccess, output: str) -> None:
    """Attaches the signed baseline FILE to IMAGE in its registry, where `intact baseline pull` and the controller find it.

    IMAGE is docker://HOST/REPO@DIGEST or docker://HOST/REPO:TAG. Of an index, the baseline goes to the manifest that it is the baseline of.

    With --alone it stands for itself in any repository, signed or not, for an image that is in no registry: an ImageBaseline declares it
    by the reference that is printed.
    """
    name = parse_image_name(image)
    if not isinstance(name, RegistryName):
        raise InputError("a baseline is pushed to a registry", hint="write docker://HOST/REPO@DIGEST")
    if alone and ":" in name.reference:
        raise InputError("a baseline that stands alone is put under a tag", code="ImageName", hint="write docker://HOST/REPO:TAG")
    document = read_document(file)
    trusted = open_trust(trust, time.time())
    with naming(str(file)):
        envelope, _ = split_document(memoryview(document))
        opened = open_envelope(envelope, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=not trust)
    if not alone and not opened.signatures:
        raise InputError(f"{file} is not signed: nobody would believe it", hint="sign it: intact baseline sign, or build it with --key")
    with naming(str(file)):
        baseline = load_document(document, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=not trust)
    push = _push_alone if alone else _push_attached
    reference, told, text = push(access, name, document, baseline)
    if output == "json":
        known = {"key": str(baseline.key), "root": str(baseline.root), "reference": reference, "bytes": len(document)}
        click.echo(json.dumps(known | told, indent=2))
        return
    click.echo(text, err=True)
    click.echo(reference)


def _push_attached(access: RegistryAccess, name: RegistryName, document: bytes, baseline: Baseline) -> tuple[str, dict[str, Any], str]:
    """The artifact's reference, what else is told of it, and the same for people."""
    repository = f"{name.host}/{name.repository}"
    with show_progress("pushing") as advance:
        pushed = push_attached(
            access, name.host, name.repository, name.reference, memoryview(document), baseline, now=time.time(),
            progress=lambda done, total: advance("baseline", done, total),
        )  # fmt: skip
    told = {
        "subject": f"{repository}@{pushed.subject}",
        "platform": pushed.platform or baseline.platform,
        "artifact": str(pushed.artifact),
        "found": pushed.how,
    }
    where = "the referrers API" if pushed.how == "api" else "a referrers tag: the registry has no referrers API"
    platform = f" ({pushed.platform})" if pushed.platform else ""
    return f"{repository}@{pushed.artifact}", told, f"attached to {repository}@{pushed.subject}{platform}, found by {where}"


def _push_alone(access: RegistryAccess, name: RegistryName, document: bytes, baseline: Baseline) -> tuple[str, dict[str, Any], str]:
    repository = f"{name.host}/{name.repository}"
    with show_progress("pushing") as advance:
        artifact = push_standing_alone(
            access, name.host, name.repository, name.reference, memoryview(document), baseline.key,
            progress=lambda done, total: advance("baseline", done, total),
        )  # fmt: skip
    told = {"tag": name.reference, "artifact": str(artifact)}
    return f"{repository}@{artifact}", told, f"{repository}:{name.reference} is the baseline of {baseline.key}, root {baseline.root}"
