"""What people name where a baseline is wanted: a baseline file, a list in any format, or an image, which is read on the spot."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

from intact.adapters.layout.names import TRANSPORTS
from intact.adapters.registry.access import RegistryAccess
from intact.baseline.document import join_document, load_document, split_document
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.read import AUTO, Read, Reading, detect, read_lists
from intact.baseline.signing import seal_envelope
from intact.baseline.statement import encode_statement
from intact.model.digest import Algorithms
from intact.model.errors import InputError
from intact.model.layer import Baseline, Grade
from intact.run.cli.progress import show_progress
from intact.run.trust import open_trust

from .build import read_image
from .files import naming, read_bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A baseline and how it was named; `envelope` is the one it came with."""

    name: str
    baseline: Baseline
    envelope: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How to open what is named."""

    trust: tuple[Path, ...]
    access: RegistryAccess
    containerd: str
    platform: str | None = None
    form: str = AUTO
    strip: bytes = b""


def open_named(text: str, how: Opening, algorithms: Algorithms | None = None, *, like: Baseline | None = None) -> Named:
    """A file (or `-`), or an image as skopeo names it. `algorithms`: what to hash an image's files with. `like`: a baseline whose layers
    need not be read again, if it was proven."""
    if is_image(text):
        known = {layer.diff_id: layer for layer in like.layers} if like is not None and like.grade >= Grade.VERIFIED else {}
        baseline = read_image(text, how.platform, algorithms or Algorithms(), how.access, how.containerd, known.get)
        return Named(name=text, baseline=baseline)
    data = read_bytes(text)
    form = detect(data) if how.form == AUTO else how.form
    if form == "baseline":
        baseline, envelope = open_document(data, how.trust, text)
        return Named(name=text, baseline=baseline, envelope=envelope)
    with naming(text):
        read = read_with_progress([data], Reading(form=form, strip=how.strip, source=f"{form}:{text}"))
    tell_losses(read.losses, "not in the list")
    baseline, envelope = believe(read, how.trust, text)
    return Named(name=text, baseline=baseline, envelope=envelope)


def is_image(text: str) -> bool:
    """Whether an image is named, and not a file."""
    return text.startswith(TRANSPORTS)


def open_document(data: bytes, trust: tuple[Path, ...], name: str) -> tuple[Baseline, bytes]:
    """A baseline file's content → the baseline and its envelope. Without `trust` it is taken as it is, and said."""
    trusted = open_trust(trust, time.time())
    if not trust:
        click.echo(f"{name} was not verified: no --trust given", err=True)
    with naming(name):
        baseline = load_document(data, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=not trust, allow_listing=True)
    return baseline, split_document(memoryview(data))[0]


def believe(read: Read, trust: tuple[Path, ...], name: str) -> tuple[Baseline, bytes]:
    """What a list is worth: its envelope's signature where it carries one, otherwise that somebody supplied it.

    Raises TrustError if keys to trust were named and none of them signed it.
    """
    envelope = read.unverified_envelope or seal_envelope(encode_statement(read.baseline), [])
    return open_document(join_document(envelope, read.baseline.layers), trust, name)


def read_bytes(text: str) -> bytes:
    """The content of a file, or of stdin for `-`; bounded."""
    try:
        with nullcontext(sys.stdin.fileno()) if text == "-" else Path(text).open("rb") as file:
            return read_bounded(file if isinstance(file, int) else file.fileno(), text)
    except OSError as error:
        raise InputError(f"{text}: {error.strerror}", code="NoSuchFile", hint="images are named docker://…, oci:…, dir:…") from None


def read_with_progress(lists: list[bytes], how: Reading) -> Read:
    total = sum(map(len, lists))
    with show_progress("reading") as advance:
        return read_lists(lists, how, lambda entries, done: advance(f"{entries:,} entries", done, total if entries >= 100_000 else 0))


def tell_losses(losses: Losses, what: str) -> None:
    """Says on stderr what a format could not hold, and what was odd."""
    if losses:
        click.echo(f"{what}: {losses.describe()}", err=True)
    for note, count in sorted(losses.notes.items()):
        click.echo(note if count == 1 else f"{note} ({count:,} times)", err=True)
