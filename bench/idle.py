"""What watching costs while nothing happens: CPU and memory of the node's half and of `intact watch`, with idle containers.

sudo python -m bench.idle [--containers 30] [--images 3] [--files 500] [--seconds 20] [--rounds 3]

Measured once all containers have been looked at and their layers read. They lie on a file system of their own, so that "nothing happens" is
true: events are heard for a whole file system. What it costs when others write there, outside of all containers, is measured last, at a
steady rate. Beside the memory stands an idle Python that has only loaded the same libraries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.watching import cpu_s, describe_run, hear_first_looks, memory_mb, own_file_system, run_node_half, write_steadily
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.watching import Watching, watch

SETTLE_S = 15.0
FOREIGN_WRITES_S = 1000
FOREIGN_SECONDS = 10.0
BARE = "import {module}; print(flush=True); import time; time.sleep(3600)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    idle_percent: float
    busy_percent: float
    rss_mb: float
    pss_mb: float


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--containers", type=int, default=30)
    options.add_argument("--images", type=int, default=3)
    options.add_argument("--files", type=int, default=500, help="in each image")
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print(describe_run())
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as images, own_file_system() as disk, Runtime() as runtime:
        _start_containers(runtime, Path(images), chosen.containers, chosen.images, chosen.files)
        node = _measure(run_node_half(runtime.address, disk / "node", chosen.containers), chosen, disk, is_node=True)
        whole = _measure(watch(runtime.address, disk / "watch"), chosen, disk, is_node=False)
    heading = f"{chosen.containers} containers, {chosen.images} images"
    print(f"\n{heading:<34}{'idle CPU':>10}{'CPU, others write':>20}{'RSS':>10}{'PSS':>10}")
    for title, cost, module in (("the node's half", node, "intact.run.cli.agent"), ("intact watch", whole, "intact.run.cli.watch")):
        rss, pss = _measure_bare(module)
        print(f"{title:<34}{cost.idle_percent:>8.2f} %{cost.busy_percent:>18.1f} %{cost.rss_mb:>7.1f} MB{cost.pss_mb:>7.1f} MB")
        print(f"{'  over its libraries, loaded':<34}{'':>30}{cost.rss_mb / rss:>9.2f}x{cost.pss_mb / pss:>9.2f}x")
    print(f"CPU in percent of one core; others write: {FOREIGN_WRITES_S} files/s on the same file system, in no container")


def _start_containers(runtime: Runtime, directory: Path, containers: int, images: int, files: int) -> None:
    names = [f"docker.io/intact-bench/idle:{number}" for number in range(images)]
    for number, image in enumerate(names):
        content = {b"/usr/lib/app%d/file%d" % (number, n): b"%d\n" % n for n in range(files)}
        runtime.import_image(busybox_image(directory / f"image{number}", image, files=content))
    for number in range(containers):
        runtime.run(names[number % images], f"idle{number}")


def _measure(starting: AbstractContextManager[Watching], chosen: argparse.Namespace, disk: Path, *, is_node: bool) -> Cost:
    with starting as watching:
        if is_node:
            watching.hear(lambda line: "ready" in line)
        else:
            hear_first_looks(watching, {f"idle{number}" for number in range(chosen.containers)})
        time.sleep(SETTLE_S)
        idle = [_share(watching.pid, lambda: time.sleep(chosen.seconds)) for _ in range(chosen.rounds)]
        rss, pss = memory_mb(watching.pid)
        busy = _share(watching.pid, lambda: write_steadily(disk / "elsewhere", FOREIGN_WRITES_S, FOREIGN_SECONDS))
    shares = ", ".join(f"{share:.2f}" for share in idle)
    print(f"{'node half' if is_node else 'watch'}: {shares} % of a core over {chosen.seconds:.0f} s each; {busy:.1f} % while others write")
    return Cost(idle_percent=statistics.median(idle), busy_percent=busy, rss_mb=rss, pss_mb=pss)


def _share(pid: int, work: Callable[[], object]) -> float:
    before, started = cpu_s(pid), time.monotonic()
    work()
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - started)


def _measure_bare(module: str) -> tuple[float, float]:
    command = [sys.executable, "-c", BARE.format(module=module)]
    bare = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert bare.stdout is not None
        bare.stdout.readline()
        return memory_mb(bare.pid)
    finally:
        bare.kill()
        bare.wait()


if __name__ == "__main__":
    main()
