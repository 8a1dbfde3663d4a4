"""A node that is full before anybody watches it: from the start of `intact watch` until every container has a verdict.

sudo python -m bench.cold [--containers 100] [--images 10] [--files 1000] [--short]

Real containers that run already, no baseline kept from before: each image is read and hashed once, each container's writable layer is
looked at, the read-only layers are read at the pace they always are (20 MiB/s), and what runs is looked at. Beside it a compiled Go program
(`bench/sidecar`) hashes every file of every container once, without a pause: what a sidecar in each of them does at its start.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from bench.hasher import build_hasher
from bench.watching import cpu_s, describe_run, hear_first_looks, memory_mb, percentile
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.watching import watch

SCOPES = {"drift": "files the container changed", "layers": "its read-only layers", "live": "what runs and is mounted"}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--containers", type=int, default=100)
    options.add_argument("--images", type=int, default=10)
    options.add_argument("--files", type=int, default=1000, help="in each image, 8 KB in the middle")
    options.add_argument("--short", action="store_true", help="10 containers of 2 images, to see that it works")
    chosen = options.parse_args()
    containers, images = (10, 2) if chosen.short else (chosen.containers, chosen.images)
    print(describe_run(), flush=True)
    with tempfile.TemporaryDirectory(prefix="intact-bench-", dir="/var/tmp") as name, Runtime() as runtime:
        ids = {f"cold{number}" for number in range(containers)}
        size = _start_containers(runtime, Path(name), containers, images, chosen.files)
        started = time.monotonic()
        with watch(runtime.address, Path(name, "watch")) as watching:
            heard = hear_first_looks(watching, ids)
            used, rss = cpu_s(watching.pid), memory_mb(watching.pid)[0]
        hasher = build_hasher(Path(name, "hasher"))
        hashed_from, before = time.monotonic(), os.times()
        for id in sorted(ids):
            subprocess.run([hasher, runtime.rootfs(id)], stdout=subprocess.DEVNULL, check=True)
        hashing_s, after = time.monotonic() - hashed_from, os.times()
        hashing_cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"\n{containers} containers of {images} images, {size / 1e6:.0f} MB in all images")
    print(f"{'verdict on … after':<40}{'first':>9}{'p50':>9}{'last':>9}   hashing all containers over the last")
    for scope, title in SCOPES.items():
        times = [at - started for (_, what), at in heard.items() if what == scope]
        p50, last = percentile(times, 50), max(times)
        print(f"{title:<40}{min(times):>7.1f} s{p50:>7.1f} s{last:>7.1f} s   {hashing_s / last:.2f}x")
    print(f"{'hashing every file of all containers':<40}{'':>16}{hashing_s:>9.1f} s")
    print(f"CPU: {used:.1f} s, {used / containers * 1000:.0f} ms a container; hashing {hashing_cpu:.1f} s, {hashing_cpu / used:.2f}x")
    print(f"RSS once all had their verdicts: {rss:.0f} MB")


def _start_containers(runtime: Runtime, directory: Path, containers: int, images: int, files: int) -> int:
    chance, size = random.Random(1), 0
    for image in range(images):
        content = {
            b"/usr/lib/app%d/d%d/file%d" % (image, n // 100, n): chance.randbytes(chance.randint(1000, 16_000)) for n in range(files)
        }
        size += sum(map(len, content.values()))
        runtime.import_image(busybox_image(directory / f"image{image}", _name(image), files=content, compression="plain"))
    for number in range(containers):
        runtime.run(_name(number % images), f"cold{number}")
    return size


def _name(image: int) -> str:
    return f"docker.io/intact-bench/cold:{image}"


if __name__ == "__main__":
    main()
