"""A look at an unchanged container of 20,000 image files, beside hashing all of it again: CPU and wall.

sudo python -m bench.scan [--files 20000] [--rounds 5]

A real container of containerd and runc. The look is what the node's watcher repeats: the scan of the writable layer, compared and judged.
Its peer is what a polling sidecar does: read every regular file of the merged tree and hash it, page cache warm. The read-only layers are
stated apart: they are read whenever the doorbell rings below one, and not by every look.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.watching import describe_run
from intact.adapters.layout.names import DirectoryName, open_image, parse_image_name
from intact.adapters.runtime.containerd import Containerd
from intact.baseline.table import seal_table
from intact.compare.differ import compare, compare_layer
from intact.compare.judge import judge
from intact.ingest.image import ingest
from intact.model.finding import State
from intact.run.node.eyes import HostEyes, HostMounts
from lab.images import busybox_image
from lab.runtime import Runtime

IMAGE = "docker.io/intact-bench/scan:1"
UNTHROTTLED = 1 << 40
LOOKS = 200
SECONDS_A_DAY = 86_400


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    print(describe_run())
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Runtime() as runtime:
        size = _start(runtime, Path(name), chosen.files)
        _measure(runtime, chosen.files, size, chosen.rounds)


def _start(runtime: Runtime, directory: Path, files: int) -> int:
    chance = random.Random(1)
    content = {b"/usr/lib/app/d%d/file%d" % (n // 100, n): chance.randbytes(chance.randint(4 << 10, 40 << 10)) for n in range(files)}
    runtime.import_image(busybox_image(directory / "image", IMAGE, files=content))
    runtime.run(IMAGE, "scan")
    return sum(map(len, content.values()))


def _measure(runtime: Runtime, files: int, size: int, rounds: int) -> None:
    containerd = Containerd(str(runtime.address), HostMounts())
    (running,) = containerd.list_running("bench")
    containerd.close()
    assert running.container.image_key is not None and running.mounted is not None
    source = open_image(parse_image_name(f"containerd:{running.container.image_key}"), containerd=str(runtime.address))
    assert not isinstance(source, DirectoryName)
    baseline = ingest(source, seal=seal_table)
    eyes = HostEyes(layer_rate_bytes_s=UNTHROTTLED)
    lowers = tuple(zip(running.mounted.lowers, reversed(baseline.layers), strict=True))

    def look() -> None:
        observation = eyes.look(running, baseline, None)
        assert observation is not None, "the container has ended"
        assert observation is not None
        verdict = judge(baseline, observation, compare(baseline, observation))
        assert verdict.state is State.INTACT, verdict

    def look_many() -> None:
        for _ in range(LOOKS):
            look()

    def hash_again() -> None:
        count = 0
        for directory, _, names in os.walk(runtime.rootfs("scan")):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb", buffering=0) as file:
                        hashlib.file_digest(file, "sha256").digest()
                    count += 1
        assert count >= files, count

    def read_layers() -> None:
        differences = [d for directory, table in lowers for d in compare_layer(table, eyes.read_layer(running, directory))]
        assert not differences, differences[:3]

    look()
    hash_again()
    looked = [value / LOOKS for value in _median(look_many, rounds)]
    hashed, layers = _median(hash_again, rounds), _median(read_layers, rounds)
    print(f"\n{files} files, {size / 1e6:.0f} MB, unchanged; median of {rounds}{'CPU':>14}{'wall':>13}   over the look: CPU, wall")
    for title, (cpu, wall) in (
        ("look at the writable layer", looked),
        ("hashing the merged tree again", hashed),
        ("reading its read-only layers", layers),
    ):
        print(f"{title:<52}{cpu * 1000:>9.2f} ms{wall * 1000:>10.2f} ms   {cpu / looked[0]:>8,.0f}x {wall / looked[1]:>8,.0f}x")
    poll = SECONDS_A_DAY / 30
    print(f"\na look every 60 s: {100 * looked[0] / 60:.4f} % of a core; hashing every 30 s: {100 * hashed[0] / 30:.1f} %")
    daily, ratio = 100 * layers[0] / SECONDS_A_DAY, poll * hashed[0] / layers[0]
    print(f"reading the layers once a day: {daily:.4f} % of a core, {ratio:,.0f}x less than hashing every 30 s")


def _median(work: Callable[[], None], rounds: int) -> list[float]:
    """Medians of CPU and wall seconds of this process."""
    cpus, walls = [], []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return [statistics.median(cpus), statistics.median(walls)]


if __name__ == "__main__":
    main()
