"""Write inside an overlay → the doorbell rings → the path was looked at: p50 and p99.

sudo python -m bench.observe_latency [--writes 300] [--directory /var/tmp]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.scratch import mount_overlay
from intact.adapters.linux.tree import HostTree
from intact.model.container import Container, Mounted, Running
from intact.observe.drift import scan_drift


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--writes", type=int, default=300)
    options.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    chosen = options.parse_args()
    base = Path(tempfile.mkdtemp(dir=chosen.directory, prefix="intact-bench-"))
    try:
        measure(base, chosen.writes)
    finally:
        shutil.rmtree(base)


def measure(base: Path, writes: int) -> None:
    image, upper, work = base / "image", base / "1/fs", base / "1/work"
    for directory in (image, upper, work):
        directory.mkdir(parents=True)
    overlay = mount_overlay((os.fsencode(image),), os.fsencode(upper), os.fsencode(work))
    bell = FanotifyDoorbell(base)
    print("tier", bell.start().name)
    bell.watch([os.fsencode(upper)])
    mounted = Mounted(upper=os.fsencode(upper), lowers=(os.fsencode(image),), device=0)
    running = Running(container=Container(id="bench", name="bench", image="", image_key=None, node=""), init_pid=0, mounted=mounted)
    rung, looked = [], []
    with HostTree(os.fsencode(upper), known=KnownFiles()) as tree:
        for number in range(writes):
            path = b"/file%d" % (number % 50)
            time.sleep(0.01)
            written_at = time.monotonic()
            descriptor = os.open(path[1:], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=overlay)
            os.write(descriptor, os.urandom(4096))
            os.close(descriptor)
            while True:
                paths = bell.wait(5).dirty[os.fsencode(upper)]
                if paths is None or path in paths:
                    break
            rung.append(time.monotonic() - written_at)
            observation = scan_drift(running, tree, baseline=None, clock=time.time, only=paths)
            assert any(entry.path == path and entry.digest for entry in observation.present)
            looked.append(time.monotonic() - written_at)
            bell.wait(0)
    bell.close()
    os.close(overlay)
    for label, times in (("write -> ring", rung), ("write -> observation", looked)):
        times.sort()
        print(
            f"{label:22} p50 {times[len(times) // 2] * 1000:6.2f} ms   p99 {times[len(times) * 99 // 100] * 1000:6.2f} ms   n={len(times)}"
        )


if __name__ == "__main__":
    main()
