"""What watching costs at 1,000 changes a second, beside doing nothing and beside hashing everything again every 30 s: CPU and memory.

sudo python -m bench.busy [--rate 1000] [--seconds 20] [--files 10000] [--short]

One real container on a file system of its own, in which data files are written anew at a steady rate: what a database does. The node's half
as the agent runs it, then `intact watch`; in the second, programs are added meanwhile, and how late each was told is measured. The peer is
what a polling sidecar does: a compiled Go program (`bench/sidecar`) that hashes every file of the container, once in 30 s; changes or none
are the same to it, and what changes between two passes it does not see.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.hasher import build_hasher
from bench.watching import (
    cpu_s,
    describe_run,
    hear_first_looks,
    is_finding,
    memory_mb,
    own_file_system,
    percentile,
    run_node_half,
    waited_cpu_s,
    write_steadily,
)
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.watching import Watching, watch

IMAGE, ID = "docker.io/intact-bench/busy:1", "busy"
POLL_S = 30.0
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Shares of one core in percent, and RSS in MB."""

    idle_percent: float
    busy_percent: float
    idle_mb: float
    busy_mb: float


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rate", type=int, default=1000)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--short", action="store_true", help="2 s and 500 files, to see that it works")
    chosen = options.parse_args()
    seconds, files = (2.0, 500) if chosen.short else (chosen.seconds, chosen.files)
    print(describe_run(), flush=True)
    with own_file_system() as disk, Runtime() as runtime:
        chance = random.Random(1)
        content = {b"/usr/lib/app/d%d/file%d" % (n // 100, n): chance.randbytes(chance.randint(4 << 10, 40 << 10)) for n in range(files)}
        size = sum(map(len, content.values()))
        runtime.import_image(busybox_image(disk / "image", IMAGE, files=content, compression="plain"))
        del content
        runtime.run(IMAGE, ID)
        root = runtime.rootfs(ID)
        costs: dict[str, Cost] = {}
        with run_node_half(runtime.address, disk / "node", 1) as watching:
            watching.hear(lambda line: "ready" in line)
            costs["the node's half"] = _measure(watching, root, chosen.rate, seconds)
        with watch(runtime.address, disk / "watch") as watching:
            hear_first_looks(watching, {ID})
            costs["intact watch"] = _measure(watching, root, chosen.rate, seconds)
            late = _add_programs(watching, root, chosen.rate, seconds)
        hashing_s, hashing_mb = _measure_hashing(build_hasher(disk / "hasher"), root)
    peer = 100 * hashing_s / POLL_S
    print(f"\none container of {files} files, {size / 1e6:.0f} MB{'CPU':>16}{'RSS':>10}   hashing every {POLL_S:.0f} s over it")
    for title, cost in costs.items():
        for kind, percent, rss in (("idle", cost.idle_percent, cost.idle_mb), (f"{chosen.rate}/s", cost.busy_percent, cost.busy_mb)):
            ratio = f"{peer / percent:.1f}x CPU" if percent else "-"
            print(f"{title + ', ' + kind:<42}{percent:>9.2f} %{rss:>7.0f} MB   {ratio}, {hashing_mb / rss:.2f}x RSS")
    print(f"{f'hashing it every {POLL_S:.0f} s: {hashing_s:.2f} s each':<42}{peer:>9.2f} %{hashing_mb:>7.0f} MB   1.0x, 1.00x")
    p50, p99 = 1000 * percentile(late, 50), 1000 * percentile(late, 99)
    print(f"a program added meanwhile was told after p50 {p50:.0f} ms, p99 {p99:.0f} ms (n={len(late)}); CPU in percent of one core")
    cores = hashing_s / (2 * percentile(late, 50))
    print(f"to be told as soon in the middle, one would have to hash without a pause on {cores:.1f} cores")


@contextmanager
def _changing(root: Path, rate: int, seconds: float) -> Iterator[None]:
    """Data files of the container are written anew meanwhile, by another process."""
    writing = multiprocessing.get_context("spawn").Process(target=write_steadily, args=(root / "var/lib/data", rate, seconds))
    writing.start()
    try:
        yield
    finally:
        writing.join()


def _measure(watching: Watching, root: Path, rate: int, seconds: float) -> Cost:
    time.sleep(min(SETTLE_S, seconds))
    idle, idle_mb = _share(watching.pid, seconds), memory_mb(watching.pid)[0]
    with _changing(root, rate, seconds + 2):
        time.sleep(1)
        busy, busy_mb = _share(watching.pid, seconds), memory_mb(watching.pid)[0]
    return Cost(idle, busy, idle_mb, busy_mb)


def _share(pid: int, seconds: float) -> float:
    before, started = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - started)


def _add_programs(watching: Watching, root: Path, rate: int, seconds: float) -> list[float]:
    times: list[float] = []
    with _changing(root, rate, seconds + 2):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path = f"usr/bin/added{len(times)}"
            added_at = time.monotonic()
            (root / path).write_text("#!/bin/sh\n")
            times.append(watching.hear(lambda line, path=path: is_finding(line, f"/{path}", "Added"))["heard_at"] - added_at)  # type: ignore[misc]
            time.sleep(0.2)
    return times


def _measure_hashing(hasher: Path, root: Path) -> tuple[float, float]:
    """(CPU seconds of one pass, the median of three; most RSS in MB)."""
    spent, most = [], 0.0
    for _ in range(3):
        before = waited_cpu_s()
        process = subprocess.Popen([hasher, root], stdout=subprocess.DEVNULL)
        while process.poll() is None:
            # Its own word on its most: what the kernel says afterwards has our memory in it, from before the exec.
            sizes = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            most = max(most, *(int(size) / 1024 for size in sizes), 0.0)
            time.sleep(0.01)
        assert process.returncode == 0, "hashing the container failed"
        spent.append(waited_cpu_s() - before)
    return statistics.median(spent), most


if __name__ == "__main__":
    main()
