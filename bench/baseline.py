"""Building a baseline, beside what people use: `python -m bench.baseline [--files N]`.

One tree of many small files, made anew, hot in the page cache; the same tree as one layer. Each contender runs in turn, several rounds, and
the medians are compared as ratios: once with all cores, once held to one. A Go program that walks and hashes as sidecars do, AIDE and
sha256sum hash the tree; tarfile reads the layer and hashes its members, as our reader does. Then what each algorithm costs.
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

from bench.hasher import build_hasher
from intact.baseline.document import load_document
from intact.baseline.table import MappedTable
from intact.model.digest import SIZES, Algorithms
from intact.model.hashing import SLOW, choose_hasher

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


def build_command(tree: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "intact", "baseline", "build", f"dir:{tree}", "-o", str(out)]


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


def measure_on_one_core(contenders: list[Contender], rounds: int) -> dict[str, tuple[float, float]]:
    """The same, all of them on the first core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        return measure(contenders, rounds)
    finally:
        os.sched_setaffinity(0, allowed)


def used_cpu() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in times)


def report(title: str, results: dict[str, tuple[float, float]]) -> None:
    ours = next(iter(results.values()))
    print(f"\n{title:<34}{'wall':>9}{'CPU':>9}   wall and CPU of ours over it")
    for name, (wall, cpu) in results.items():
        print(f"{name:<34}{wall:>8.2f}s{cpu:>8.2f}s   {ours[0] / wall:>6.2f}  {ours[1] / cpu:>6.2f}", flush=True)


def peak_memory(command: list[str]) -> tuple[int, int]:
    """The largest sum of the processes' own shares of memory (PSS) that was seen, and how many processes that were, in bytes."""
    peak = (0, 0)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        shares = [share for pid in (process.pid, *children(process.pid)) if (share := read_share(pid))]
        peak = max(peak, (sum(shares), len(shares)))
        time.sleep(0.01)
    return peak


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def read_share(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def report_algorithms() -> None:
    """MB/s of each on one core, on 16 KB at a time, as many files are."""
    data = bytes(16 << 10)
    speeds = {}
    for name in SIZES:
        make = choose_hasher(Algorithms(name))
        make(data[:64]).digest()  # tables that are made once
        count = 4 if name in SLOW else 2000
        started = time.process_time()
        for _ in range(count):
            make(data).digest()
        speeds[name] = count * len(data) / 1e6 / (time.process_time() - started)
    print(f"\n{'algorithm':<14}{'MB/s':>9}   sha256 over it")
    for name, speed in sorted(speeds.items(), key=lambda pair: -pair[1]):
        print(f"{name:<14}{speed:>9.1f}   {speeds['sha256'] / speed:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name:
        work = Path(name)
        tree, out = work / "tree", work / "out"
        total = make_tree(tree, arguments.files)
        hasher = build_hasher(work / "hasher")
        print(f"{arguments.files} files, {total / 1e6:.0f} MB, {cores} cores, load {os.getloadavg()[0]:.1f}, median of {arguments.rounds}")
        contenders: list[Contender] = [
            ("intact baseline build dir:", lambda: run(*build_command(tree, out))),
            ("compiled Go hasher", lambda: run(hasher, tree)),
            (f"sha256sum, {cores} processes", lambda: hash_with_coreutils(tree, cores)),
        ]
        if shutil.which("aide"):
            (work / "aide.conf").write_text(AIDE_CONFIGURATION.format(work=work, tree=tree))
            contenders.append(("aide --init", lambda: run("aide", f"--config={work}/aide.conf", "--init")))
        report(f"a directory, {cores} cores", measure(contenders, arguments.rounds))
        report("a directory, one core", measure_on_one_core(contenders, arguments.rounds))
        peak, processes = peak_memory(build_command(tree, out))
        print(f"\npeak memory of the build: {peak / 1e6:.0f} MB in {processes} processes (PSS)")
        alone = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"largest process of all contenders: {alone / 1024:.0f} MB (RSS)")
        report_size(out)
        layer = work / "layer.tar"
        run("tar", "--format=pax", "-C", tree, "-cf", layer, ".")
        layered: list[Contender] = [
            ("our reader", lambda: read_with_ours(layer)),
            ("tarfile", lambda: read_with_tarfile(layer)),
        ]
        report("a layer, one thread", measure(layered, arguments.rounds))
        report_algorithms()


def report_size(file: Path) -> None:
    baseline = load_document(file.read_bytes(), allow_unsigned=True)
    (table,) = baseline.layers
    assert isinstance(table, MappedTable)
    paths = sum(len(record.path) for record in table.scan())
    print(f"on disk: {len(table.data) / len(table):.1f} bytes an entry, {paths / len(table):.1f} of them its path")


if __name__ == "__main__":
    main()
