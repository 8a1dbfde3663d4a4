"""A file in any of the formats → a baseline, with what is known of where it came from.

In: bytes that nobody vouches for, and how to read them; `auto` looks at their beginning. Out: the baseline, the envelope that a JSON
document carries, and what was lost or odd. Never opens a file, and never believes a signature: the caller does that with the envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap

from intact.baseline.document import MAGIC
from intact.model.digest import Digest
from intact.model.errors import InputError
from intact.model.layer import Baseline

from .checksums import Checksums
from .document import read_document
from .export import CHECKSUMS
from .lines import BOM, Advance, ignore_progress
from .losses import Losses
from .mtree import read_mtree

AUTO = "auto"
READABLE = (AUTO, "checksums", *CHECKSUMS, "mtree", "json")
_LOOKED_AT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read a list. `strip` is where the tree lay; `below` the directories it speaks of; the rest names the image it is of."""

    form: str = AUTO
    algorithms: tuple[str, ...] = ()
    """Of checksums: the one that is meant, or one a list."""
    zero: bool = False
    strip: bytes = b""
    below: tuple[bytes, ...] = (b"/",)
    source: str = ""
    key: Digest | None = None
    aliases: tuple[str, ...] = ()
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    baseline: Baseline
    losses: Losses
    unverified_envelope: bytes | None = None


def read_lists(lists: Sequence[bytes | mmap], how: Reading, advance: Advance = ignore_progress) -> Read:
    """One list, or several checksum lists of the same tree by different algorithms. Raises InputError or TrustError."""
    form = detect(lists[0]) if how.form == AUTO else how.form
    if form in ("checksums", *CHECKSUMS):
        meant = how.algorithms * len(lists) if len(how.algorithms) == 1 else how.algorithms or (CHECKSUMS.get(form),) * len(lists)
        sums = Checksums(zero=how.zero, strip=how.strip, below=how.below)
        for data, algorithm in zip(lists, meant, strict=True):
            sums.read(data, advance, algorithm=algorithm)
        checksums = sums.finish()
        built = checksums.build(source=how.source, key=how.key, aliases=how.aliases, platform=how.platform)
        return Read(baseline=built, losses=checksums.losses)
    if len(lists) > 1:
        raise InputError("only checksum lists can be read together", code="Format", hint="give one file")
    if how.zero or how.strip or how.algorithms:
        raise InputError("-z, --strip-prefix and --algorithm are for checksum lists", code="Format", hint="leave them out")
    if form == "mtree":
        specification = read_mtree(lists[0], below=how.below, advance=advance)
        built = specification.build(source=how.source, key=how.key, aliases=how.aliases, platform=how.platform)
        return Read(baseline=built, losses=specification.losses)
    if form == "json":
        if how.below != (b"/",) or (how.key or how.aliases):
            raise InputError("a JSON document says itself what it is of", code="Format", hint="leave --below, --image, --key-digest out")
        document, envelope = read_document(lists[0])
        return Read(baseline=document, losses=Losses(), unverified_envelope=envelope)
    raise InputError(f"{form} cannot be read", code="Format", hint=f"known: {', '.join(READABLE)}")


def detect(data: bytes | mmap) -> str:
    """Which format it is, by its beginning; checksums where nothing says otherwise."""
    head = bytes(data[:_LOOKED_AT_BYTES])
    if head.startswith(MAGIC):
        return "baseline"
    text = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if text.startswith(b"{"):
        return "json"
    if text.startswith((b"#mtree", b"/set ", b"/set\t")):
        return "mtree"
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#")), b"")
    if first.startswith((b"/set ", b". ", b"./")) or b" type=" in first:
        return "mtree"
    return "checksums"
