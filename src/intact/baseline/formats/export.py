"""A baseline → any of the formats: one table of names, so that command line and documentation agree.

In: a baseline, the envelope it came in, and what to write. Out: parts of a file, made one after the other; what the format could not say is
in `losses` when the last part is out. Never writes a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from intact.baseline.document import join_document
from intact.baseline.statement import encode_statement
from intact.model.errors import InputError
from intact.model.layer import Baseline

from .checksums import export_checksums
from .document import export_document, export_entries
from .losses import Losses
from .mtree_export import export_mtree


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What to write: `envelope` is the baseline's own, as it came; `algorithm` is for checksum lists, as are `prefix` and `zero`."""

    baseline: Baseline
    envelope: bytes | None = None
    algorithm: str = ""
    prefix: bytes = b""
    zero: bool = False


CHECKSUMS = {
    "sha256sum": "sha256", "md5sum": "md5", "sha1sum": "sha1", "sha224sum": "sha224", "sha384sum": "sha384", "sha512sum": "sha512",
    "b3sum": "blake3",
}  # fmt: skip
"""The programs whose lists these are; `checksums` is any algorithm."""

FORMATS = ("checksums", *CHECKSUMS, "mtree", "json", "entries", "in-toto", "dsse", "baseline")


def export(wanted: Export, form: str, losses: Losses) -> Iterator[bytes]:
    """The parts of `form`, in order of path. Raises InputError where the baseline cannot be written so."""
    baseline = wanted.baseline
    if form in CHECKSUMS:
        return export_checksums(baseline, CHECKSUMS[form], losses, prefix=wanted.prefix, zero=wanted.zero)
    match form:
        case "checksums":
            algorithm = wanted.algorithm or choose_algorithm(baseline)
            return export_checksums(baseline, algorithm, losses, prefix=wanted.prefix, zero=wanted.zero)
        case "mtree":
            return export_mtree(baseline, losses)
        case "json":
            return export_document(baseline, wanted.envelope)
        case "entries":
            return export_entries(baseline, losses)
        case "in-toto":
            return iter((encode_statement(baseline) + b"\n",))
        case "dsse":
            return iter((_need_envelope(wanted) + b"\n",))
        case "baseline":
            return iter((join_document(_need_envelope(wanted), baseline.layers),))
        case _:
            raise InputError(f"unknown format {form!r}", code="Format", hint=f"known: {', '.join(FORMATS)}")


def choose_algorithm(baseline: Baseline) -> str:
    """The one that decides; of a list of weak ones alone, the first."""
    names = baseline.algorithms.names
    return names[1] if baseline.stated.is_weak and len(names) > 1 else names[0]


def _need_envelope(wanted: Export) -> bytes:
    if wanted.envelope is None:
        raise InputError("an image that was just read has no envelope", code="Format", hint="build a baseline file first, and sign it")
    return wanted.envelope
