"""The mounts that a harness part has below a directory, and taking them down (proc_pid_mountinfo(5)).

In: a directory of ours. Out: none of its mounts left. Never touches a mount elsewhere.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    point: Path
    type: str
    options: Mapping[str, str]


def read_mounts() -> list[Mount]:
    """This process' mounts, in the order in which they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        own, _, super_ = line.partition(b" - ")
        kind, _, options = super_.split(b" ", 2)
        pairs = (option.partition("=")[::2] for option in os.fsdecode(options).split(","))
        point = Path(os.fsdecode(_unescape(own.split(b" ")[4])))
        found.append(Mount(point=point, type=os.fsdecode(kind), options=dict(pairs)))
    return found


def mounts_below(directory: Path) -> list[Mount]:
    return [mount for mount in read_mounts() if mount.point == directory or directory in mount.point.parents]


def unmount_below(directory: Path) -> None:
    """Unmounts everything at and below `directory`, the newest first."""
    for mount in reversed(mounts_below(directory)):
        if subprocess.run(["umount", str(mount.point)], capture_output=True).returncode:
            subprocess.run(["umount", "--lazy", str(mount.point)], capture_output=True)


def _unescape(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), text)
