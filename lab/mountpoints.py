"""The directories of the machine over which nodes mount their own: made when missing, removed after the last cluster.

In: a cluster's id. Out: empty directories, and a ledger of those that were made here.
Never removes a directory that it did not make, that is not empty, or that another cluster may have mounted over: removing a mount
point unmounts it in every other mount namespace (rename and rmdir of mount points, mount_namespaces(7)).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from lab.nodefiles import PERSISTENT

LEDGER = Path("/run/intact-lab.mountpoints")


def make(id: int) -> None:
    with _ledger() as lines:
        lines.append(f"user {id}")
        for name in PERSISTENT:
            missing = [path for path in (Path("/", name), *Path("/", name).parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(mode=0o755)
                lines.append(f"made {path}")


def remove(id: int) -> None:
    if not LEDGER.exists():
        return
    with _ledger() as lines:
        lines[:] = [line for line in lines if line != f"user {id}"]
        if any(line.startswith("user ") for line in lines):
            return
        for line in reversed(lines):
            with contextlib.suppress(OSError):  # not empty: somebody uses it now
                Path(line.removeprefix("made ")).rmdir()
        lines.clear()


@contextlib.contextmanager
def _ledger() -> Iterator[list[str]]:
    """The ledger's lines under a lock; what the block leaves in them is written back, an empty ledger removed."""
    while True:
        with LEDGER.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not LEDGER.exists() or LEDGER.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # removed while we waited
            file.seek(0)
            lines = file.read().splitlines()
            try:
                yield lines
            finally:
                file.truncate(0)
                file.write("".join(line + "\n" for line in lines))
                if not lines:
                    LEDGER.unlink()
            return
