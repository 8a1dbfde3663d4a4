"""Baseline files on the command line: reading them, the options that say whom to trust, and text out of them for a terminal."""

from __future__ import annotations

import time
from pathlib import Path

import click

from intact.baseline.document import load_document
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.layer import Baseline

PATH = click.Path(path_type=Path)
trust_option = click.option(
    "--trust", multiple=True, type=PATH, metavar="FILE", help="Verify with this public key (K.pub) or trust root first; may be repeated."
)


def load_baseline(file: Path, trust: tuple[Path, ...], *, allow_unsigned: bool) -> Baseline:
    """The baseline in FILE. Raises InputError (no such file, no baseline) or TrustError (it does not verify)."""
    from intact.run.trust import open_trust  # a tenth of a second, which commands that trust nobody need not wait

    trusted = open_trust(trust, time.time())
    document = read_document(file)
    return load_document(document, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=allow_unsigned, allow_listing=True)


def read_document(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", code="NoSuchFile") from None


def clean(text: str) -> str:
    """Text out of a file for a terminal."""
    return display_path(text.encode("utf-8", "surrogatepass"))
