"""Baseline files on the command line: reading them, the options that say whom to trust, and text out of them for a terminal."""

from __future__ import annotations

from pathlib import Path

import click

from intact.adapters.keys.signing import load_public_key
from intact.baseline.document import load_document
from intact.baseline.signing import PublicKey
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.layer import Baseline

PATH = click.Path(path_type=Path)
trust_option = click.option(
    "--trust", multiple=True, type=PATH, metavar="K.pub", help="Verify with this public key first; may be repeated."
)


def load_baseline(file: Path, trust: tuple[Path, ...], *, allow_unsigned: bool) -> Baseline:
    """The baseline in FILE. Raises InputError (no such file, no baseline) or TrustError (it does not verify)."""
    trusted = [PublicKey(load_public_key(path)) for path in trust]
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", code="NoSuchFile") from None
    return load_document(data, trusted=trusted, allow_unsigned=allow_unsigned)


def clean(text: str) -> str:
    """Text out of a file for a terminal."""
    return display_path(text.encode("utf-8", "surrogatepass"))
