"""The index of an overlay that is mounted with `index=on`: files that the image has under several names, and that were copied up.

In: an upper directory. Out: whether names that the upper directory does not hold show what was written under another name. Never reads a
file's content, never follows a link.

Without an index a write to one of an image's hard links leaves the others as they were. With one, all its names show what was written under
any of them (overlayfs.rst, "Non-standard behavior"), though only that one stands in the upper directory, and even when that one was
deleted. The attribute `nlink` of an index entry says how many names there are beside those in the upper directory and the entry's own: `U`
and the number to add to the links of the entry.
"""

from __future__ import annotations

import os
import re
import stat
from itertools import islice

from intact.model.container import Mounted
from intact.model.observation import Unobserved

MAX_ENTRIES = 100_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = re.compile(rb"U([+-]\d{1,9})")


def find_shared(mounted: Mounted) -> tuple[Unobserved, ...]:
    """What cannot be told of the container for its overlay's index; nothing where it keeps none, or where no other name is concerned."""
    if "index=on" not in mounted.options:
        return ()
    prefix = "user.overlay." if "userxattr" in mounted.options else "trusted.overlay."
    try:
        shared, is_whole = _count(os.path.dirname(mounted.upper) + b"/work/index", prefix + "nlink")
    except OSError as error:
        return (Unobserved(path=b"/", reason=f"index: the overlay's index cannot be read: {os.strerror(error.errno or 0)}"),)
    if not is_whole:
        return (Unobserved(path=b"/", reason=f"index: the overlay's index has more than {MAX_ENTRIES} entries"),)
    if not shared:
        return ()
    return (
        Unobserved(path=b"/", reason=f"index: {shared} files that the image has under several names show one of them under the others"),
    )


def _count(directory: bytes, attribute: str) -> tuple[int, bool]:
    """(index entries that other names show, whether all were counted)."""
    descriptor = os.open(directory, _DIRECTORY)
    try:
        with os.scandir(descriptor) as listing:
            names = [entry.name for entry in islice(listing, MAX_ENTRIES + 1)]
        return sum(_is_shared(descriptor, name, attribute) for name in names[:MAX_ENTRIES]), len(names) <= MAX_ENTRIES
    finally:
        os.close(descriptor)


def _is_shared(directory: int, name: str, attribute: str) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not status.st_rdev):
            return False  # a directory has one name; a device 0:0 says that all names are gone
        added = _LINKS.fullmatch(os.getxattr(f"/proc/self/fd/{directory}/{name}", attribute, follow_symlinks=False))
    except OSError:
        return False  # it is gone, or counts no links: then nothing else shows it
    return added is not None and int(added[1]) >= 0
