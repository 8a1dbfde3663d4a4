"""Bytes that nobody vouches for → lines and paths, bounded. Shared by the readers of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from mmap import mmap

from intact.model.encoding import MAX_PATH_BYTES
from intact.model.errors import InputError

MAX_LINE_BYTES = 1 << 17
MAX_ENTRIES = 5_000_000
PROGRESS_EVERY = 10_000
BOM = b"\xef\xbb\xbf"

Advance = Callable[[int, int], None]
"""Told entries and bytes read so far."""


def ignore_progress(entries: int, bytes_done: int) -> None:
    """For who does not show any."""


def split_lines(data: bytes | mmap, end: bytes, advance: Advance = ignore_progress) -> Iterator[tuple[int, bytes, bool]]:
    """(number from 1, line without its end, whether it had one). Raises InputError where a line is longer than any can be."""
    at, number, size = 0, 0, len(data)
    while at < size:
        stop = data.find(end, at, at + MAX_LINE_BYTES)
        is_ended = stop >= 0
        if not is_ended:
            stop = size
            if size - at > MAX_LINE_BYTES:
                raise InputError(f"line {number + 1} is longer than {MAX_LINE_BYTES} bytes", code="ListFormat", hint="is it a text file?")
        number += 1
        yield number, data[at:stop], is_ended
        at = stop + 1
        if number % PROGRESS_EVERY == 0:
            advance(number, at)
            if number > 4 * MAX_ENTRIES:
                raise InputError(f"the list has more than {4 * MAX_ENTRIES} lines", code="TooManyEntries")
    advance(number, size)


def clean_path(name: bytes, number: int, strip: bytes = b"") -> bytes:
    """A name of a list → an absolute path of the tree: `./etc/passwd`, `etc/passwd`, `/etc//passwd` → `/etc/passwd`.

    `strip`: the directory at which the tree lay when the list was made, which every name must be below. Raises InputError on `..`: what it
    names depends on links, or lies outside of the tree.
    """
    if strip:
        if name != strip and not name.startswith(strip.rstrip(b"/") + b"/"):
            raise InputError(f"line {number}: {_show(name)} is not below {_show(strip)}", code="ListPath", hint="leave the prefix out?")
        name = name[len(strip) :]
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    path = b"/" + b"/".join(parts)
    if b".." in parts:
        raise InputError(f"line {number}: {_show(name)} leads out of its directory (..)", code="ListPath", hint="list it from its root")
    if len(path) > MAX_PATH_BYTES:
        raise InputError(f"line {number}: a path of {len(path)} bytes; at most {MAX_PATH_BYTES} are possible", code="ListPath")
    if b"\0" in path:
        raise InputError(f"line {number}: a path with a NUL byte", code="ListPath", hint="was the list made with -z? then read it with -z")
    return path


def _show(name: bytes) -> str:
    return repr(name[:200])[1:]
