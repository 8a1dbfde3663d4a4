"""One spooled report as a file: a frame that proves itself whole.

`INTSPL1\\n`, the SHA-256 of everything after it, the header's length (4 bytes, big endian), the header (JSON), the report (JSON, zstd).
A torn write, a truncated file and a flipped bit all fail the digest; what fails is never believed.
"""

from __future__ import annotations

import hashlib
import sys

import msgspec

from intact.model.errors import InputError
from intact.model.finding import State
from intact.model.seam import Report

from .split import MAX_REPORT_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"INTSPL1\n"
_FIXED = len(MAGIC) + 32 + 4


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the spool must know of a report without decoding it.

    `replaceable`: it says nothing but that all is well, so a later report about the same `subjects` says everything it says.
    """

    id: str
    replaceable: bool
    subjects: tuple[str, ...]


def describe(report: Report) -> Header:
    """The header of `report`."""
    well = all(v.state is State.INTACT and not v.findings and not v.unobserved for v in report.verdicts)
    subjects = {f"{v.container.id}/{v.scope.value}" for v in report.verdicts}
    if report.coverage is not None:
        subjects.add("coverage")
    return Header(id=report.id, replaceable=well and not report.gaps and not report.outcomes, subjects=tuple(sorted(subjects)))


def pack(header: Header, encoded: bytes) -> bytes:
    """The frame of an encoded report."""
    head = msgspec.json.encode(header)
    rest = len(head).to_bytes(4, "big") + head + zstd.compress(encoded, level=3)
    return MAGIC + hashlib.sha256(rest).digest() + rest


def unpack(frame: bytes) -> tuple[Header, bytes]:
    """The header and the compressed report. Raises InputError if the frame is not whole."""
    rest = frame[len(MAGIC) + 32 :]
    if len(frame) < _FIXED or not frame.startswith(MAGIC) or hashlib.sha256(rest).digest() != frame[len(MAGIC) : len(MAGIC) + 32]:
        raise InputError("not a whole frame of the spool", code="TornFrame")
    length = int.from_bytes(rest[:4], "big")
    try:
        header = msgspec.json.decode(rest[4 : 4 + length], type=Header)
    except msgspec.MsgspecError as error:
        raise InputError(f"the frame's header is not ours: {error}", code="TornFrame") from error
    return header, rest[4 + length :]


def inflate(compressed: bytes) -> bytes:
    """The encoded report of a frame that `unpack` has found whole. Raises InputError beyond `MAX_REPORT_BYTES`."""
    inflater = zstd.ZstdDecompressor()
    try:
        encoded = inflater.decompress(compressed, MAX_REPORT_BYTES + 1)
    except zstd.ZstdError as error:
        raise InputError(f"the frame's report does not decompress: {error}", code="TornFrame") from error
    if not inflater.eof:
        raise InputError(f"the frame's report is larger than {MAX_REPORT_BYTES} bytes", code="TornFrame")
    return encoded
