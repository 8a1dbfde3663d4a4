"""`intact baseline build`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from intact.adapters.keys.signing import load_private_key
from intact.adapters.layout.names import DEFAULT_CONTAINERD, DirectoryName, RegistryName, open_image, parse_image_name
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.atomic import write_atomically
from intact.baseline.document import encode_document
from intact.baseline.signing import KeySigner
from intact.baseline.table import seal_encoded_table, seal_table
from intact.model.digest import SIZES, WEAK, Algorithms, Digest
from intact.model.errors import InputError
from intact.model.hashing import SLOW
from intact.model.layer import Baseline, LayerTable
from intact.run.cli.output import check_replaceable
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options, tell_notes

from .files import PATH

SKOPEO_DIRECTORY = b"Directory Transport Version:"


@click.command("build")
@click.argument("image")
@click.option("-o", "--out", required=True, type=PATH, metavar="FILE", help="Where to write the baseline.")
@click.option("--key", type=PATH, metavar="K.pem", help="Sign with this private key.")
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index; this machine's by default.")
@click.option(
    "--algorithm",
    "names",
    multiple=True,
    default=("sha256",),
    show_default=True,
    type=click.Choice(sorted(SIZES)),
    help="What to hash files with; may be repeated. The first strong one decides; md5 and sha1 never do.",
)
@registry_options
@click.option(
    "--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket, for containerd:NAME."
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(
    image: str,
    out: Path,
    key: Path | None,
    platform: str | None,
    names: tuple[str, ...],
    access: RegistryAccess,
    containerd: str,
    output: str,
) -> None:
    """Reads IMAGE, verifies it, and writes its baseline.

    IMAGE is docker://HOST/REPO[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], containerd:NAME,
    containers-storage:[[DRIVER@]GRAPHROOT]NAME or dir:PATH.
    """
    if str(out) == "-":
        raise InputError("a baseline is written to a file, not to stdout", hint="name the file; ./- if it is to be called so")
    check_replaceable(out)
    signers = [KeySigner(load_private_key(key))] if key else []
    algorithms = Algorithms.choose(names)
    _tell_algorithms(algorithms, names)
    baseline = read_image(image, platform, algorithms, access, containerd)
    write_atomically(out, [encode_document(baseline, signers)])
    entries = sum(len(layer) for layer in baseline.layers)
    signed = f"signed by {signers[0].public.id}" if signers else "not signed"
    if output == "json":
        told = {
            "key": str(baseline.key),
            "root": str(baseline.root),
            "grade": baseline.grade.title,
            "platform": baseline.platform,
            "source": baseline.source,
            "layers": len(baseline.layers),
            "entries": entries,
            "signers": [signer.public.id for signer in signers],
            "file": str(out),
        }
        click.echo(json.dumps(told, indent=2))
        return
    counts = f"{len(baseline.layers)} layers, {entries} entries by {algorithms.described}"
    click.echo(f"{out}: {baseline.key}, {counts}, {baseline.grade.title}, {signed}", err=True)
    click.echo(str(baseline.root))


def _tell_algorithms(algorithms: Algorithms, names: tuple[str, ...]) -> None:
    """What is not as somebody might expect of what they chose."""
    weak = ", ".join(sorted(WEAK.intersection(names)))
    if weak:
        decides = f"{algorithms.deciding} decides" if algorithms.deciding in names else f"{algorithms.deciding} is added and decides"
        click.echo(f"{weak}: for comparison only, since two files of the same value can be made; {decides}", err=True)
    for name in sorted(SLOW.intersection(names)):
        click.echo(f"{name} is computed in Python, some 5,000 times slower than sha256: about 3 s for each MB", err=True)


def read_image(
    image: str,
    platform: str | None,
    algorithms: Algorithms,
    access: RegistryAccess,
    containerd: str,
    known_layers: Callable[[Digest], LayerTable | None] = lambda _: None,
) -> Baseline:
    """The baseline of a named image, with progress on stderr. `known_layers`: what need not be read again, proven before."""
    name = parse_image_name(image)
    opened = open_image(name, access=access, containerd=containerd)
    if isinstance(opened, DirectoryName):
        if platform:
            raise InputError("--platform is for images, not for dir:", hint="leave it out")
        _refuse_transport(opened.path)
        return _build_tree(opened, algorithms)
    from intact.ingest.image import Progress, ingest

    with show_progress("reading") as advance:

        def report(at: Progress) -> None:
            advance(f"layer {at.layer}/{at.layers}", at.bytes_done, at.bytes_total, f"{at.entries:,} entries")

        parallel = access.concurrency if isinstance(name, RegistryName) else 1
        try:
            return ingest(
                opened,
                platform=platform,
                algorithms=algorithms,
                progress=report,
                known_layers=known_layers,
                seal=seal_table,
                parallel=parallel,
            )
        finally:
            tell_notes(opened)


def _refuse_transport(directory: Path) -> None:
    """To skopeo `dir:` is an image in a form of its own: nobody wants a baseline of those files by mistake."""
    try:
        with (directory / "version").open("rb") as file:
            is_image = file.read(len(SKOPEO_DIRECTORY)) == SKOPEO_DIRECTORY
    except OSError:
        return
    if is_image:
        raise InputError(f"{directory} is an image as skopeo's dir: keeps it, not a file tree", hint=f"skopeo copy dir:{directory} oci:DIR")


def _build_tree(name: DirectoryName, algorithms: Algorithms) -> Baseline:
    from intact.adapters.layout.directory import Walked, walk_directory
    from intact.ingest.tree import ingest_tree

    with show_progress("reading") as advance:

        def report(at: Walked) -> None:
            advance(f"{at.entries} entries", at.bytes_hashed, 0)

        records = walk_directory(str(name.path), algorithms=algorithms, progress=report)
        return ingest_tree(records, source=f"dir:{name.path}", seal=seal_encoded_table)
