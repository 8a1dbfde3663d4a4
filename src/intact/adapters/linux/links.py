"""Where the kernel's links in /proc lead, however long the path.

In: a link of /proc. Out: the path it shows. The kernel writes no path of more than a page: it refuses the link (ENAMETOOLONG), and calls
the file `//toolong` in its notes. Whoever runs from there runs all the same, so that such a path has a name of its own here.
"""

from __future__ import annotations

import errno
import os

TOO_LONG = b"/(a path of more than 4096 bytes)"
"""Stands for what cannot be told. Nothing is ever looked up by it."""
MOST_WRITTEN = 4096 - 8
"""Longer paths have no name in the kernel's notes."""


def read_link(link: bytes) -> bytes:
    """What `link` shows, or `TOO_LONG`. Raises OSError where it is gone."""
    try:
        return os.readlink(link)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return TOO_LONG
