"""Which files of its overlay a container executes now: programs, and what is mapped to be executed.

In: a running container. Out: paths as the overlay has them, whichever of its layers they are in. A list of what to look at first, never a
fact: what could not be looked at is not in it, and what runs now may not run any more. Resolves no path of the container.
"""

from __future__ import annotations

from intact.model.container import Running

from .members import Members, Place, find_groups
from .running import read_process
from .threads import Headless

MAX_PROCESSES = 1000
"""Of one container; the rest mostly executes the same."""
MAX_FILES = 10_000


def list_executed(running: Running) -> frozenset[bytes]:
    """Empty for a container that has ended, or whose processes may not be looked at."""
    mounted = running.mounted
    if mounted is None:
        return frozenset()
    id = running.container.id
    try:
        place = Place(groups=find_groups(running.init_pid, id), device=mounted.device)
        pids = Members().gather({id: place})[id]
    except OSError:
        return frozenset()
    found: set[bytes] = set()
    for pid in pids[:MAX_PROCESSES]:
        try:
            seen = read_process(pid, mounted.device)
        except (OSError, Headless):
            continue
        if seen is not None:
            found.update(file.name for file in (seen.program, *seen.mapped) if file.device == mounted.device)
        if len(found) >= MAX_FILES:
            break
    return frozenset(found)
