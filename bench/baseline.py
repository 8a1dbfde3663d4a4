"""Building a baseline, beside what people use: `python -m bench.baseline [--files N]`.

One tree of many small files, made anew, hot in the page cache; the same tree as one layer. Each contender runs in turn, several rounds, and
the medians are compared as ratios. AIDE and sha256sum hash the tree; tarfile reads the layer and hashes its members, as our reader does.
Everything runs in processes of its own, and nothing is left behind.
"""

import argparse
import hashlib
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

AIDE_CONFIGURATION = """database_in=file:{work}/aide.db
database_out=file:{work}/aide.db.new
gzip_dbout=no
report_url=file:{work}/aide.log
{tree} R+sha256-md5-sha1-rmd160-tiger-haval-crc32-gost-whirlpool
"""
Contender = tuple[str, Callable[[], object]]


def make_tree(tree: Path, files: int) -> int:
    """Files of 4 to 40 KB in directories of 100; returns their bytes."""
    chance = random.Random(1)
    total = 0
    for number in range(files):
        directory = tree / f"usr/lib/d{number // 100}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        size = chance.randint(4 << 10, 40 << 10)
        (directory / f"file{number}").write_bytes(chance.randbytes(size))
        total += size
    return total


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def build_tree(tree: Path, out: Path) -> None:
    run(sys.executable, "-m", "intact", "baseline", "build", f"dir:{tree}", "-o", out)


def hash_with_coreutils(tree: Path, jobs: int) -> None:
    subprocess.run(f"find {tree} -type f -print0 | xargs -0 -n 500 -P {jobs} sha256sum >/dev/null", shell=True, check=True)


def read_with_tarfile(layer: Path) -> None:
    with tarfile.open(layer, "r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                hasher = hashlib.sha256()
                while part := content.read(1 << 18):
                    hasher.update(part)


def read_with_ours(layer: Path) -> None:
    from intact.ingest.limits import Limits
    from intact.ingest.tar import read_members

    with layer.open("rb") as file:
        for _ in read_members(iter(lambda: file.read(1 << 20), b""), limits=Limits(), layer="bench"):
            pass


def measure(contenders: list[Contender], rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU seconds, the contenders taking turns."""
    walls: dict[str, list[float]] = {name: [] for name, _ in contenders}
    cpus: dict[str, list[float]] = {name: [] for name, _ in contenders}
    for _ in range(rounds):
        for name, contender in contenders:
            before, started = used_cpu(), time.perf_counter()
            contender()
            walls[name].append(time.perf_counter() - started)
            cpus[name].append(used_cpu() - before)
    return {name: (statistics.median(walls[name]), statistics.median(cpus[name])) for name, _ in contenders}


def used_cpu() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in times)


def report(title: str, results: dict[str, tuple[float, float]]) -> None:
    ours = next(iter(results.values()))
    print(f"\n{title:<34}{'wall':>9}{'CPU':>9}   wall and CPU of ours over it")
    for name, (wall, cpu) in results.items():
        print(f"{name:<34}{wall:>8.2f}s{cpu:>8.2f}s   {ours[0] / wall:>6.2f}  {ours[1] / cpu:>6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name:
        work = Path(name)
        tree = work / "tree"
        total = make_tree(tree, arguments.files)
        print(f"{arguments.files} files, {total / 1e6:.0f} MB, {os.cpu_count()} cores, median of {arguments.rounds}")
        contenders: list[Contender] = [
            ("intact baseline build dir:", lambda: build_tree(tree, work / "out")),
            ("sha256sum, one process", lambda: hash_with_coreutils(tree, 1)),
            (f"sha256sum, {os.cpu_count()} processes", lambda: hash_with_coreutils(tree, os.cpu_count() or 1)),
        ]
        if shutil.which("aide"):
            (work / "aide.conf").write_text(AIDE_CONFIGURATION.format(work=work, tree=tree))
            contenders.append(("aide --init", lambda: run("aide", f"--config={work}/aide.conf", "--init")))
        report("a directory", measure(contenders, arguments.rounds))
        layer = work / "layer.tar"
        run("tar", "--format=pax", "-C", tree, "-cf", layer, ".")
        layered: list[Contender] = [
            ("our reader", lambda: read_with_ours(layer)),
            ("tarfile", lambda: read_with_tarfile(layer)),
        ]
        report("a layer, one thread", measure(layered, arguments.rounds))
        peak = subprocess.run([sys.executable, "-c", PEAK, str(tree)], capture_output=True, text=True, check=True).stdout
        print(f"\npeak memory of the build: {int(peak) / 1024:.0f} MB")


PEAK = """
import resource, subprocess, sys, os
subprocess.run([sys.executable, "-m", "intact", "baseline", "build", "dir:" + sys.argv[1], "-o", sys.argv[1] + ".out"], check=True,
               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""

if __name__ == "__main__":
    main()
