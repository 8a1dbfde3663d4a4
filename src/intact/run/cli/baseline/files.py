"""Baseline files on the command line: reading them, the options that say whom to trust, and text out of them for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from intact.baseline.document import MAGIC
from intact.baseline.formats.document import MAX_DOCUMENT_BYTES
from intact.model.entry import display_path
from intact.model.errors import InputError, TrustError

PIECE_BYTES = 8 << 20
PATH = click.Path(path_type=Path)
trust_option = click.option(
    "--trust", multiple=True, type=PATH, metavar="FILE", help="Verify with this public key (K.pub) or trust root first; may be repeated."
)


def read_document(file: Path) -> bytes:
    """The content of a baseline file, not believed; of what begins like none, no more than that is read."""
    try:
        with file.open("rb") as opened:
            head = os.read(opened.fileno(), len(MAGIC))
            if head != MAGIC:
                hint = "build one with: intact baseline build IMAGE -o FILE; intact baseline import makes one of a list"
                raise InputError(f"{file} is not a baseline file", code="DocumentFormat", hint=hint)
            return head + read_bounded(opened.fileno(), str(file))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", code="NoSuchFile") from None


def read_bounded(descriptor: int, name: str) -> bytes:
    """What is left to read, in pieces, between which an interrupt is heard. Raises InputError beyond the bound of all files."""
    pieces = []
    left = MAX_DOCUMENT_BYTES
    while piece := os.read(descriptor, PIECE_BYTES):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise InputError(f"{name} has more than {MAX_DOCUMENT_BYTES} bytes", code="TooLarge")
    return b"".join(pieces)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """What is wrong with a file's content is said of that file: several are often given."""
    try:
        yield
    except (InputError, TrustError) as error:
        raise type(error)(f"{name}: {error}", code=error.code) from None


def clean(text: str) -> str:
    """Text out of a file for a terminal."""
    return display_path(text.encode("utf-8", "surrogatepass"))
