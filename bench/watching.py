"""What several measurements share: a containerd of their own with containers, an `intact watch` process, and what the kernel says of it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0


@dataclass(slots=True)
class Watching:
    """A running `intact watch --output jsonl`; each of its lines has `heard_at`, by the monotonic clock."""

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
def watch(socket: Path, state: Path, *options: str) -> Iterator[Watching]:
    """`intact watch` on the containers of one containerd; ended with the block, its log is `state`/watch.log."""
    state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "intact", "watch", "--socket", str(socket), "--state", str(state), "--output", "jsonl", *options]
    with (state / "watch.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
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


def cpu_s(pid: int) -> float:
    """Seconds of CPU that all threads of `pid` have used (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def threads_cpu_s(pid: int) -> Mapping[str, float]:
    """The same for each thread, by its name; finer than ticks (schedstat: nanoseconds on the CPU)."""
    used: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        used[f"{name}/{task.name}"] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


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
