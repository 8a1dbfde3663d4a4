"""What several measurements share: a containerd of their own with containers, an `intact watch` process, and what the kernel says of it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0


@dataclass(slots=True)
class Watching:
    """A process and its lines; each has `heard_at`, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    lines: queue.SimpleQueue[Line] = field(default_factory=queue.SimpleQueue)

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self, wanted: Callable[[Line], bool]) -> Line:
        """The next line that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            if wanted(line):
                return line

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            heard_at = time.monotonic()
            self.lines.put({**json.loads(line), "heard_at": heard_at})


@contextmanager
def run_and_listen(command: Sequence[str | Path], log: Path) -> Iterator[Watching]:
    """A process that prints JSON lines; ended with the block."""
    with log.open("wb") as errors:
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
    watching = Watching(process)
    listener = threading.Thread(target=watching.listen, daemon=True)
    listener.start()
    try:
        yield watching
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(timeout=5)


@contextmanager
def watch(socket: Path, state: Path, *options: str) -> Iterator[Watching]:
    """`intact watch` on the containers of one containerd; ended with the block, its log is `state`/watch.log."""
    state.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "intact",
        "watch",
        "--socket",
        socket,
        "--state",
        state,
        "--output",
        "jsonl",
        *options,
    ]
    with run_and_listen(command, state / "watch.log") as watching:
        yield watching


@contextmanager
def own_file_system(size: str = "6G") -> Iterator[Path]:
    """An ext4 of its own in a sparse file, as the harness' state directory: what others write to the machine's disk is not heard there."""
    before = os.environ.get("INTACT_STATE")
    with tempfile.TemporaryDirectory(prefix="intact-bench-", dir="/var/tmp") as name:
        image, point = Path(name, "disk"), Path(name, "mounted")
        point.mkdir()
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, point], check=True)
        os.environ["INTACT_STATE"] = str(point / "state")
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)
            if before is None:
                del os.environ["INTACT_STATE"]
            else:
                os.environ["INTACT_STATE"] = before


def cpu_s(pid: int) -> float:
    """Seconds of CPU that all threads of `pid` have used (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int) -> tuple[float, float]:
    """(RSS, PSS) in MB (proc_pid_smaps_rollup(5))."""
    sizes = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(sizes[name].split()[0]) / 1024 for name in ("Rss", "Pss"))  # type: ignore[return-value]


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def describe_machine() -> str:
    kernel = os.uname().release
    return f"{os.cpu_count()} cores, Linux {kernel}, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}"
