"""When this node was watched last, in a file that outlives the process.

In: a path in the agent's own directory. Out: Unix seconds, or nothing. Whoever can write there is root on the node in effect, and still
cannot keep the agent from starting, or make it wait: no link is followed, nothing but a small regular file is read. A disk that takes
nothing more, full or failing, ends no watch: the gap that will be told after the next start is then the longer one.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from pathlib import Path

import structlog

log = structlog.get_logger()

_LONGEST_BYTES = 64


def read_alive(path: Path) -> float | None:
    """The moment that was written last; None where there is none, or something else stands there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("alive_not_read", reason=error.strerror)
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            log.warning("alive_not_read", reason="is no regular file")
            return None
        since = float(os.read(descriptor, _LONGEST_BYTES))
    except (OSError, ValueError) as error:
        log.warning("alive_not_read", reason=str(error))
        return None
    finally:
        os.close(descriptor)
    return since if math.isfinite(since) and since >= 0 else None


def write_alive(path: Path, now: float) -> None:
    """Replaces what was there, whole or not at all; says so where that fails, and goes on."""
    part = path.with_suffix(".part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"%.3f\n" % now)
        finally:
            os.close(descriptor)
        part.replace(path)
    except OSError as error:
        log.warning("alive_not_written", reason=error.strerror)
