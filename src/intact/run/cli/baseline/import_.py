"""`intact baseline import`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from intact.adapters.keys.signing import load_private_key
from intact.adapters.layout.names import DEFAULT_CONTAINERD, DirectoryName, open_image, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.atomic import write_atomically
from intact.baseline.document import encode_document, join_document
from intact.baseline.formats.describe import count_tree, describe
from intact.baseline.formats.lines import clean_path
from intact.baseline.formats.losses import join_words, name_kinds
from intact.baseline.formats.read import AUTO, READABLE, Read, Reading, detect
from intact.baseline.formats.snapshots import SCHEME, SnapshotName, group
from intact.baseline.signing import KeySigner
from intact.ingest.image import resolve
from intact.ingest.limits import Limits
from intact.model.digest import SIZES, Digest
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.run.cli.output import check_replaceable
from intact.run.cli.registry import registry_options, tell_notes

from .files import PATH, clean, naming
from .inputs import open_document, read_bytes, read_with_progress, tell_losses

MAX_SNAPSHOTS = 100_000


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--out", required=True, type=PATH, metavar="OUT", help="Where to write the baseline; for a directory, the baselines.")
@click.option("--format", "form", type=click.Choice(READABLE), default=AUTO, show_default=True, help="What FILE is.")
@click.option("--algorithm", type=click.Choice(sorted(SIZES)), help="Of checksums: by which algorithm, where the length does not tell.")
@click.option("-z", "--zero", is_flag=True, help="Of checksums: lines end with NUL.")
@click.option("--strip-prefix", default="", metavar="DIR", help="Of checksums: where the tree lay when the list was made.")
@click.option("--below", multiple=True, metavar="DIR", help="The list speaks of this directory of the image only; may be repeated.")
@click.option("--image", metavar="IMAGE", help="The image it is of: its configuration's digest becomes the key, its names the aliases.")
@click.option("--key-digest", metavar="sha256:…", help="The digest of the image's configuration, where IMAGE cannot be reached.")
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index.")
@click.option("--key", "signing_key", type=PATH, metavar="K.pem", help="Sign what is written with this private key.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
@registry_options
@click.option("--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket.")
def command(
    files: tuple[str, ...], out: Path, form: str, algorithm: str | None, zero: bool, strip_prefix: str, below: tuple[str, ...],
    image: str | None, key_digest: str | None, platform: str | None, signing_key: Path | None, output: str, access: RegistryAccess,
    containerd: str,
) -> None:  # fmt: skip
    """Makes a baseline of grade Supplied from a list that somebody brings.

    FILE is a checksum list (sha256sum, md5sum …; several of one tree are put together), an mtree specification, a JSON document,
    or a directory NAMESPACE/IMAGE/TAG.ALGORITHM of checksum lists. The baseline states what the list states and nothing else;
    what is not stated is never compared.
    """
    if image and key_digest:
        raise InputError("--image and --key-digest both say which image it is", hint="give one")
    if str(out) == "-":
        raise InputError("a baseline is written to a file, not to stdout", hint="name the file; ./- if it is to be called so")
    how = Reading(
        form=form,
        algorithms=(algorithm,) if algorithm else (),
        zero=zero,
        strip=os.fsencode(strip_prefix),
        below=_clean_directories(below),
        platform=platform or "",
    )
    signers = [KeySigner(load_private_key(signing_key))] if signing_key else []
    if len(files) == 1 and Path(files[0]).is_dir():
        if image or key_digest:
            raise InputError("a directory of snapshots is of many images", hint="leave --image and --key-digest out")
        told = _import_snapshots(Path(files[0]), out, how, signers)
    else:
        check_replaceable(out)
        key, aliases, platform = _resolve(image, platform, access, containerd) if image else (_parse_key(key_digest), (), platform)
        lists = [_read_list(file) for file in files]
        how = replace(
            how, source=f"{detect(lists[0]) if form == AUTO else form}:{files[0]}", key=key, aliases=aliases, platform=platform or ""
        )
        with naming(", ".join(files)):
            read = read_with_progress(lists, how)
        told = [_write(read, out, signers)]
    if output == "json":
        click.echo(json.dumps(told if len(told) != 1 else told[0], indent=2))
    else:
        for one in told:
            click.echo(one["root"])


def _read_list(file: str) -> bytes:
    data = read_bytes(file)
    if detect(data) == "baseline":
        raise InputError(f"{file} is a baseline already", code="DocumentFormat", hint="show, diff, export and check read it as it is")
    return data


def _import_snapshots(directory: Path, out: Path, how: Reading, signers: list[KeySigner]) -> list[dict[str, Any]]:
    """Every image of the directory becomes a file of the same name below `out`; nothing is written unless all of them can be read."""
    relatives = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    if len(relatives) > MAX_SNAPSHOTS:
        raise InputError(f"{directory} has more than {MAX_SNAPSHOTS} files", code="TooManyEntries")
    found, others = group(relatives)
    for other in others[:20]:
        click.echo(f"{clean(other)} is no NAMESPACE/IMAGE/TAG.ALGORITHM: left out", err=True)
    if len(others) > 20:
        click.echo(f"{len(others) - 20} more files were left out", err=True)
    if not found:
        raise InputError(f"{directory} holds no NAMESPACE/IMAGE/TAG.ALGORITHM", code="SnapshotName")
    for name, files in found.items():  # first only read: a bad one among them leaves nothing half done
        _read_snapshot(directory, name, files, how)
    told = []
    for name, files in found.items():
        file = out / f"{name}.baseline"
        file.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(file)
        told.append(_write(_read_snapshot(directory, name, files, how), file, signers))
    return told


def _read_snapshot(directory: Path, name: SnapshotName, files: dict[str, str], how: Reading) -> Read:
    lists = [read_bytes(str(directory / relative)) for relative in files.values()]
    how = replace(how, form="checksums", algorithms=tuple(files), source=f"{SCHEME}{name}", aliases=(f"{name.image}:{name.tag}",))
    try:
        return read_with_progress(lists, how)
    except InputError as error:
        raise InputError(f"{name}: {error}", code=error.code) from None


def _write(read: Read, out: Path, signers: list[KeySigner]) -> dict[str, Any]:
    """Writes the baseline, says what it knows, and describes it."""
    baseline, envelope = read.baseline, read.unverified_envelope
    data = join_document(envelope, baseline.layers) if envelope is not None and not signers else encode_document(baseline, signers)
    if envelope is not None:
        baseline, _ = open_document(data, (), str(out))
    write_atomically(out, [data])
    contents = count_tree(baseline)
    kinds = {kind.value: contents.kinds[kind] for kind in Kind if contents.kinds[kind]}
    click.echo(f"{out}: {join_words(name_kinds(contents.kinds))}, {baseline.grade.title}", err=True)
    tell_losses(read.losses, "not in the list, and never compared")
    if baseline.stated.is_weak:
        weak = join_words(baseline.algorithms.further)
        click.echo(f"only {weak}: a check can show that files differ, and never that they do not (exit code 3)", err=True)
    return {"file": str(out), **describe(baseline), "entries": kinds, "notes": dict(read.losses.notes)}


def _resolve(image: str, platform: str | None, access: RegistryAccess, containerd: str) -> tuple[Digest, tuple[str, ...], str]:
    source = open_image(parse_image_name(image), access=access, containerd=containerd)
    if isinstance(source, DirectoryName):
        raise InputError("a directory has no configuration that could be the key", code="ImageName", hint="name an image")
    try:
        found = resolve(source, platform=platform, limits=Limits())
    finally:
        tell_notes(source)
    return found.manifest.config.digest, found.aliases, found.config.platform


def _parse_key(text: str | None) -> Digest | None:
    return Digest.parse(text) if text else None


def _clean_directories(named: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(sorted({clean_path(os.fsencode(name), 0) for name in named})) or (b"/",)
