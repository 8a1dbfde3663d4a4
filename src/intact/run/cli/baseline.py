"""`intact baseline`: build, sign, verify, show and export the baselines of images. Results on stdout or in FILE, talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from intact.adapters.keys.signing import generate_key, load_private_key, load_public_key
from intact.adapters.layout.names import DEFAULT_CONTAINERD, DirectoryName, open_image, parse_image_name
from intact.adapters.store.atomic import write_atomically
from intact.baseline.document import encode_document, load_document
from intact.baseline.formats import FORMATS, describe, export
from intact.baseline.signing import KeySigner, PublicKey
from intact.baseline.table import seal_table
from intact.ingest.image import Progress, ingest
from intact.ingest.tree import ingest_tree
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.layer import Baseline

from .output import check_replaceable
from .progress import show_progress

_PATH = click.Path(path_type=Path)
_trust = click.option("--trust", multiple=True, type=_PATH, metavar="K.pub", help="Verify with this public key first; may be repeated.")


@click.group()
def command() -> None:
    """Builds, signs, verifies and exports baselines: what an image says its files are."""


@command.command()
@click.argument("image")
@click.option("-o", "--out", required=True, type=_PATH, metavar="FILE", help="Where to write the baseline.")
@click.option("--key", type=_PATH, metavar="K.pem", help="Sign with this private key.")
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index; this machine's by default.")
@click.option("--plain-http", multiple=True, metavar="HOST:PORT", help="A registry to be asked without TLS; may be repeated.")
@click.option(
    "--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket, for containerd:NAME."
)
def build(image: str, out: Path, key: Path | None, platform: str | None, plain_http: tuple[str, ...], containerd: str) -> None:
    """Reads IMAGE, verifies it, and writes its baseline.

    IMAGE is docker://HOST/REPO[:TAG][@DIGEST], oci:DIR[:TAG], docker-archive:FILE[:NAME], containerd:NAME or dir:PATH.
    """
    if str(out) == "-":
        raise InputError("a baseline is written to a file, not to stdout", hint="name the file; ./- if it is to be called so")
    check_replaceable(out)
    signers = [KeySigner(load_private_key(key))] if key else []
    baseline = _build(image, platform, frozenset(plain_http), containerd)
    write_atomically(out, [encode_document(baseline, signers)])
    entries = sum(len(layer) for layer in baseline.layers)
    signed = f"signed by {signers[0].public.id}" if signers else "not signed"
    click.echo(f"{out}: {baseline.key}, {len(baseline.layers)} layers, {entries} entries, {baseline.grade.title}, {signed}", err=True)
    click.echo(str(baseline.root))


@command.command()
@click.option("-o", "--out", "stem", required=True, type=_PATH, metavar="K", help="Makes K.pem (keep it secret) and K.pub.")
def keygen(stem: Path) -> None:
    """Makes an Ed25519 key pair to sign baselines with."""
    private, public = generate_key(stem)
    click.echo(f"{private} (private, mode 0600) and {public}", err=True)
    click.echo(PublicKey(load_public_key(public)).id)


@command.command()
@click.argument("file", type=_PATH)
@click.option("--trust", multiple=True, required=True, type=_PATH, metavar="K.pub", help="A key that is trusted to sign; may be repeated.")
def verify(file: Path, trust: tuple[Path, ...]) -> None:
    """Checks that FILE is whole and signed by a trusted key. Exit code 11 if not."""
    baseline = _load(file, trust, allow_unsigned=False)
    click.echo(f"{baseline.grade.title} {baseline.key} root {baseline.root}")


@command.command()
@click.argument("file", type=_PATH)
@_trust
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def show(file: Path, trust: tuple[Path, ...], output: str) -> None:
    """Shows what FILE is a baseline of. Without --trust it is shown as FirstSeen: nobody vouches for it."""
    baseline = _load(file, trust, allow_unsigned=not trust)
    described = describe(baseline)
    if output == "json":
        click.echo(json.dumps(described, indent=2))
        return
    for name in ("key", "root", "grade", "source", "platform"):
        click.echo(f"{name:<9} {_clean(str(described[name]))}")
    for alias in baseline.aliases:
        click.echo(f"{'alias':<9} {_clean(alias)}")
    click.echo(f"{'LAYER':<6}{'ENTRIES':>9}  DIFF ID")
    for index, layer in enumerate(baseline.layers, 1):
        click.echo(f"{index:<6}{len(layer):>9}  {layer.diff_id}")


@command.command("export")
@click.argument("file", type=_PATH)
@click.option("--format", "form", type=click.Choice(FORMATS), default="sha256sum", show_default=True, help="What to write.")
@click.option("--prefix", default="", metavar="DIR", help="Put DIR before every path: where the image's tree is mounted (sha256sum only).")
@_trust
def export_(file: Path, form: str, prefix: str, trust: tuple[Path, ...]) -> None:
    """Writes FILE's entries to stdout, as `sha256sum -c` or a program reads them."""
    if prefix and form != "sha256sum":
        raise InputError("--prefix is for sha256sum only")
    baseline = _load(file, trust, allow_unsigned=not trust)
    if not trust:
        click.echo("not verified: no --trust given", err=True)
    stdout = sys.stdout.buffer
    for line in export(baseline, form, prefix=os.fsencode(prefix)):
        stdout.write(line)
    stdout.flush()


def _build(image: str, platform: str | None, plain_http: frozenset[str], containerd: str) -> Baseline:
    opened = open_image(parse_image_name(image), plain_http=plain_http, containerd=containerd)
    if isinstance(opened, DirectoryName):
        if platform:
            raise InputError("--platform is for images, not for dir:", hint="leave it out")
        return _build_tree(opened)
    with show_progress("reading") as advance:

        def report(at: Progress) -> None:
            advance(f"layer {at.layer}/{at.layers}", at.bytes_done, at.bytes_total)

        return ingest(opened, platform=platform, progress=report, seal=seal_table)


def _build_tree(name: DirectoryName) -> Baseline:
    from intact.adapters.layout.directory import Walked, walk_directory

    with show_progress("reading") as advance:

        def report(at: Walked) -> None:
            advance(f"{at.entries} entries", at.bytes_hashed, 0)

        return ingest_tree(walk_directory(str(name.path), progress=report), source=f"dir:{name.path}", seal=seal_table)


def _load(file: Path, trust: tuple[Path, ...], *, allow_unsigned: bool) -> Baseline:
    trusted = [PublicKey(load_public_key(path)) for path in trust]
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", code="NoSuchFile") from None
    return load_document(data, trusted=trusted, allow_unsigned=allow_unsigned)


def _clean(text: str) -> str:
    """Text out of a file for a terminal."""
    return display_path(text.encode("utf-8", "surrogatepass"))
