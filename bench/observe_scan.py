"""An unchanged container of 20,000 files: the scan of its writable layer against hashing everything again. CPU time, and the ratio.

sudo python -m bench.observe_scan [--files 20000] [--changed 20] [--directory /var/tmp]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.scratch import mount_overlay
from intact.adapters.linux.tree import HostTree
from intact.model.container import Container, Mounted, Running
from intact.model.digest import Digest
from intact.model.layer import Baseline, Grade, MemoryTable, Record
from intact.observe.drift import scan_drift
from intact.observe.layers import read_layer

CONTAINER = Container(id="bench", name="bench", image="", image_key=None, node="")
NOTHING = Digest.of(b"")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--changed", type=int, default=20, help="files the container has copied up (a usual number: stubs, logs, caches)")
    options.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    chosen = options.parse_args()
    base = Path(tempfile.mkdtemp(dir=chosen.directory, prefix="intact-bench-"))
    try:
        measure(base, chosen.files, chosen.changed)
    finally:
        shutil.rmtree(base)


def measure(base: Path, files: int, changed: int) -> None:
    image, upper, work = base / "image", base / "1/fs", base / "1/work"
    for directory in (image, upper, work):
        directory.mkdir(parents=True)
    block = os.urandom(40_960)
    for number in range(files):
        directory = image / f"d{number % 200}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(block[: 4096 + number * 7919 % 36_864])
    with HostTree(os.fsencode(image)) as tree:
        records = tuple(found for found in read_layer(tree) if isinstance(found, Record))
    baseline = Baseline(key=NOTHING, layers=(MemoryTable(NOTHING, NOTHING, records),), grade=Grade.FIRST_SEEN, source="dir:bench")
    overlay = mount_overlay((os.fsencode(image),), os.fsencode(upper), os.fsencode(work))
    for number in range(changed):
        os.chmod(f"d{number % 200}/f{number}", 0o644, dir_fd=overlay)
    os.close(overlay)
    running = Running(container=CONTAINER, init_pid=0, mounted=Mounted(upper=os.fsencode(upper), lowers=(os.fsencode(image),), device=0))
    known = KnownFiles(clock_ns=lambda: time.time_ns() + 120 * 10**9)  # as if the last change were two minutes old

    def rescan() -> None:
        with HostTree(os.fsencode(upper), known=known) as tree:
            scan_drift(running, tree, baseline=baseline, clock=time.time)

    def rehash() -> None:
        for directory, _, names in os.walk(image):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    hashlib.file_digest(file, "sha256").digest()

    rescan()
    scan_s, hash_s = cpu_of(rescan, 50), cpu_of(rehash, 3)
    print(f"{files} files, {changed} copied up: scan {scan_s * 1000:.2f} ms, re-hash {hash_s * 1000:.0f} ms of CPU: {hash_s / scan_s:.0f}x")


def cpu_of(work: Callable[[], None], times: int) -> float:
    """The median CPU time of one run, in seconds."""
    spent = []
    for _ in range(times):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return statistics.median(spent)


if __name__ == "__main__":
    main()
