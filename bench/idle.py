"""What watching costs while nothing happens: CPU and memory of `intact watch` with idle containers.

sudo python -m bench.idle [--containers 30] [--images 3] [--seconds 60] [--rounds 3]

`intact watch` is the node's half and the cluster's half in one process (SQLite, audit log), so an agent alone costs less. Measured once all
containers have been looked at and their layers read. Beside it: an empty Python that has only the same libraries in memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.watching import cpu_s, describe_machine, memory_mb, threads_cpu_s, watch
from lab.images import busybox_image
from lab.runtime import Runtime

SETTLE_S = 20.0
BARE = "import sys, time; import intact.run.cli.watch; print(flush=True); time.sleep(3600)"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--containers", type=int, default=30)
    options.add_argument("--images", type=int, default=3)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Runtime() as runtime:
        images = [f"docker.io/intact-bench/idle:{number}" for number in range(chosen.images)]
        for number, image in enumerate(images):
            files = {b"/usr/lib/app%d/file%d" % (number, n): b"%d\n" % n for n in range(500)}
            runtime.import_image(busybox_image(Path(name, f"image{number}"), image, files=files))
        for number in range(chosen.containers):
            runtime.run(images[number % len(images)], f"idle{number}")
        with watch(runtime.address, Path(name, "watch")) as watching:
            seen: set[tuple[str, str]] = set()
            while len(seen) < 2 * chosen.containers:
                line = watching.hear(lambda line: line["type"] == "verdict")
                assert line["state"] == "Intact", line
                seen.add((line["container"]["id"], line["scope"]))
            time.sleep(SETTLE_S)
            shares = []
            for number in range(chosen.rounds):
                before, threads, started = cpu_s(watching.pid), threads_cpu_s(watching.pid), time.monotonic()
                time.sleep(chosen.seconds)
                passed = time.monotonic() - started
                shares.append(100 * (cpu_s(watching.pid) - before) / passed)
                used = {thread: 100 * (now - threads.get(thread, 0.0)) / passed for thread, now in threads_cpu_s(watching.pid).items()}
                busiest = ", ".join(f"{thread} {used[thread]:.2f}" for thread in sorted(used, key=lambda t: -used[t])[:4])
                print(f"round {number + 1}: {shares[-1]:.2f} % of a core over {passed:.0f} s (threads: {busiest})")
            rss, pss = memory_mb(watching.pid)
        bare_rss, bare_pss = _measure_bare()
    print(f"\n{chosen.containers} idle containers of {chosen.images} images{'CPU':>12}{'RSS':>10}{'PSS':>10}")
    print(f"{'intact watch':<40}{statistics.median(shares):>8.2f} %{rss:>7.1f} MB{pss:>7.1f} MB")
    print(f"{'its libraries in an idle Python':<40}{0:>8.2f} %{bare_rss:>7.1f} MB{bare_pss:>7.1f} MB")
    print(f"{'ratio':<40}{'':>10}{rss / bare_rss:>8.2f}x {pss / bare_pss:>8.2f}x")


def _measure_bare() -> tuple[float, float]:
    bare = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert bare.stdout is not None
        bare.stdout.readline()
        return memory_mb(bare.pid)
    finally:
        bare.kill()
        bare.wait()


if __name__ == "__main__":
    main()
