"""What watching costs the watched: a workload of nothing but metadata in a container, alone and under `intact watch`, in turns.

sudo python -m bench.slowdown [--files 20000] [--rounds 5] [--short]

Each time 20,000 small files are unpacked from an archive of the image, their modes changed, and all of it removed again, in a real
container on a file system of its own. The rounds alternate, and which of the two comes first does too, so that what else the machine does
falls on both. The watcher has looked at everything before the clock starts. Beside the wall time stands the CPU time of the workload's own
processes, in which the kernel's making of events counts, and who else wants the CPU does not.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
import time
from pathlib import Path

from bench.watching import cpu_s, describe_run, hear_first_looks, own_file_system, shell_inside, waited_cpu_s
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.watching import watch

IMAGE, ID = "docker.io/intact-bench/slowdown:1", "slowdown"
STEPS = {
    "untar": "mkdir /srv/work && tar -xf /srv/tree.tar -C /srv/work",
    "chmod -R": "chmod -R go-r /srv/work",
    "rm -r": "rm -r /srv/work",
}
ALL, CPU = "all of it", "its CPU time"
SETTLE_S = 2.0


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--short", action="store_true", help="one round of 2,000 files, to see that it works")
    chosen = options.parse_args()
    files, rounds = (2000, 1) if chosen.short else (chosen.files, chosen.rounds)
    print(describe_run(), flush=True)
    alone: list[dict[str, float]] = []
    watched: list[dict[str, float]] = []
    spent: list[float] = []
    with own_file_system() as disk, Runtime() as runtime:
        runtime.import_image(busybox_image(disk / "image", IMAGE, files={b"/srv/tree.tar": _make_archive(files)}))
        pid = runtime.run(IMAGE, ID)
        _work(pid)  # the first time reads the archive from the disk
        for number in range(rounds):
            for is_watched in (number % 2 == 1, number % 2 == 0):
                if is_watched:
                    times, cpu = _work_watched(runtime, disk / "watch", pid)
                    spent.append(cpu)
                else:
                    times = _work(pid)
                (watched if is_watched else alone).append(times)
                print(
                    f"round {number + 1}, {'watched' if is_watched else 'alone'}: {times[ALL]:.2f} s, {times[CPU]:.2f} s of CPU", flush=True
                )
    print(f"\n{f'{files:,} files, median of {rounds}':<26}{'alone':>9}{'watched':>9}   watched over alone")
    for step in (*STEPS, ALL, CPU):
        _show(step, [one[step] for one in alone], [one[step] for one in watched])
    pairs = ", ".join(f"{with_it[ALL] / without[ALL]:.3f}x" for without, with_it in zip(alone, watched, strict=True))
    print(f"all of it, round by round: {pairs}; the watcher took {statistics.median(spent):.2f} s of CPU meanwhile")


def _work(pid: int) -> dict[str, float]:
    """Seconds of each step, and of CPU."""
    times, before = {}, waited_cpu_s()
    with shell_inside(pid) as run:
        for step, command in STEPS.items():
            started = time.monotonic()
            run(command)
            times[step] = time.monotonic() - started
    return {**times, ALL: sum(times.values()), CPU: waited_cpu_s() - before}


def _work_watched(runtime: Runtime, state: Path, pid: int) -> tuple[dict[str, float], float]:
    with watch(runtime.address, state) as watching:
        hear_first_looks(watching, {ID})
        time.sleep(SETTLE_S)
        before = cpu_s(watching.pid)
        times = _work(pid)
        return times, cpu_s(watching.pid) - before


def _make_archive(files: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(files):
            member = tarfile.TarInfo(f"d{number // 100}/file{number}.txt")
            member.size = 1000
            archive.addfile(member, io.BytesIO(b"%-1000d" % number))
    return out.getvalue()


def _show(title: str, alone: list[float], watched: list[float]) -> None:
    without, with_it = statistics.median(alone), statistics.median(watched)
    print(f"{title:<26}{without:>7.2f} s{with_it:>7.2f} s   {with_it / without:.3f}x")


if __name__ == "__main__":
    main()
