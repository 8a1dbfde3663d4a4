"""A write in a quiet container → the line on `intact watch`'s output, without and with a neighbour that creates and deletes files without
pause: p50 and p99.

sudo python -m bench.flood [--writes 100] [--rounds 3]

Two real containers under one `intact watch`. The rounds alternate, so that what else the machine does falls on both. How fast the neighbour
is, and whether it was named as flooding, is printed beside: on a machine where it is slow, this shows little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.watching import cpu_s, describe_run, percentile
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.watching import Line, Watching, watch

IMAGE = "docker.io/intact-bench/flood:1"
PAUSE_S = 0.05
STORM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char name[4096];
    for (long n = 0;; n++) {
        snprintf(name, sizeof name, "%s/%ld", argv[1], n % 1000);
        close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644));
        unlink(name);
        if (n % 10000 == 0) { dprintf(1, "%ld\n", n); }
    }
}
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--writes", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print(describe_run())
    rounds: dict[str, list[tuple[float, float]]] = {"alone": [], "beside a flood": []}
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Runtime() as runtime:
        work = Path(name)
        subprocess.run(["gcc", "-O2", "-x", "c", "-", "-o", work / "storm"], input=STORM, text=True, check=True)
        runtime.import_image(busybox_image(work / "image", IMAGE))
        for id in ("quiet", "loud"):
            runtime.run(IMAGE, id)
        quiet, loud = runtime.rootfs("quiet"), runtime.rootfs("loud")
        with watch(runtime.address, work / "watch") as watching:
            unseen = {"quiet", "loud"}
            while unseen:
                line = watching.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] in unseen)
                unseen.discard(line["container"]["id"])
            for number in range(chosen.rounds):
                rounds["alone"].append(_measure(watching, quiet, chosen.writes, f"{number}a"))
                rounds["beside a flood"].append(_beside(watching, work, loud, quiet, chosen.writes, f"{number}b"))
        for id in ("quiet", "loud"):
            runtime.stop(id)
        named = (work / "watch/watch.log").read_text().count('"event_flood"')
    print(f"the neighbour was named {named} times\n\n{'median of rounds':<20}{'p50':>10}{'p99':>12}")
    for kind, measured in rounds.items():
        p50, p99 = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{kind:<20}{p50 * 1000:>7.1f} ms{p99 * 1000:>9.1f} ms")


def _beside(watching: Watching, work: Path, loud: Path, quiet: Path, writes: int, label: str) -> tuple[float, float]:
    (loud / "srv/storm").mkdir(parents=True, exist_ok=True)
    with (work / "storm.out").open("w+b") as out:
        storm = subprocess.Popen([work / "storm", loud / "srv/storm"], stdout=out)
        try:
            time.sleep(3)
            began, before, used = time.monotonic(), _made(work), cpu_s(watching.pid)
            measured = _measure(watching, quiet, writes, label)
            took = time.monotonic() - began
            made, cpu = _made(work) - before, cpu_s(watching.pid) - used
        finally:
            storm.kill()
            storm.wait()
    print(f"the neighbour made and deleted {made / took:,.0f} files a second; watching took {cpu / took:.2f} of a CPU")
    time.sleep(12)
    return measured


def _made(work: Path) -> int:
    lines = (work / "storm.out").read_text().split()
    return int(lines[-1]) if lines else 0


def _measure(watching: Watching, root: Path, writes: int, label: str) -> tuple[float, float]:
    times = [_write(watching, root, f"usr/bin/{label}-{number}") for number in range(writes)]
    p50, p99 = percentile(times, 50), percentile(times, 99)
    print(f"{label}: p50 {p50 * 1000:6.1f} ms  p99 {p99 * 1000:6.1f} ms  max {max(times) * 1000:6.1f} ms  n={len(times)}", flush=True)
    return p50, p99


def _write(watching: Watching, root: Path, path: str) -> float:
    time.sleep(PAUSE_S)
    written_at = time.monotonic()
    descriptor = os.open(root / path, os.O_WRONLY | os.O_CREAT, 0o755)
    os.write(descriptor, b"#!/bin/sh\n")
    os.close(descriptor)

    def is_it(line: Line) -> bool:
        return bool(line["type"] == "finding" and line["path"] == f"/{path}")

    heard_at: float = watching.hear(is_it)["heard_at"]
    return heard_at - written_at


if __name__ == "__main__":
    main()
