"""As many open files as a long-lived process needs.

Tables are used where they lie, mapped, one for each layer of every image on a node; before Python 3.13 each mapping keeps a descriptor. The
soft limit that most processes begin with (getrlimit(2), RLIMIT_NOFILE), 1024, is there for programs that use select(2); none of ours does.
"""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger()

WANTED = 65_536
"""More than any node has layers; not the hard limit, which may be a thousand million, and which children inherit."""


def raise_descriptor_limit() -> None:
    """Raises the soft limit to `WANTED`, or to the hard limit where that is lower; no right is needed for it. Never lowers it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except OSError as error:  # a sandbox may forbid it: then the old one has to do
        log.warning("descriptor_limit_not_raised", limit=soft, reason=error.strerror)
