"""50,000 image files deleted in one go, on a single CPU: how many are told, how long it takes, and what the watcher says it lost.

sudo python -m bench.deletes [--files 50000] [--cpu 0] [--short]

A real container; `intact watch` and whoever deletes are both held to one CPU, so that they take it from each other. Told is what the last
verdict says: findings one by one up to its bound, and a number for the rest. Beside it stand the time of the deleting itself, and a scan
every 30 s, which would tell after 15 s in the middle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.watching import cpu_s, describe_run, hear_first_looks, memory_mb
from lab.images import busybox_image
from lab.runtime import Runtime
from lab.settings import LabError
from lab.watching import Line, watch

IMAGE, ID = "docker.io/intact-bench/deletes:1", "deletes"
RULE = "image-file-changed"
POLL_S = 30.0


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=50_000)
    options.add_argument("--cpu", type=int, default=0)
    options.add_argument("--short", action="store_true", help="3,000 files, to see that it works")
    chosen = options.parse_args()
    files = 3000 if chosen.short else chosen.files
    held = ("taskset", "--cpu-list", str(chosen.cpu))
    print(describe_run(), flush=True)
    with tempfile.TemporaryDirectory(prefix="intact-bench-", dir="/var/tmp") as name, Runtime() as runtime:
        state = Path(name, "watch")
        content = {b"/usr/lib/app/d%d/file%d" % (n // 100, n): b"%d\n" % n for n in range(files)}
        runtime.import_image(busybox_image(Path(name, "image"), IMAGE, files=content, compression="plain"))
        runtime.run(IMAGE, ID)
        with watch(runtime.address, state, "--layer-rate", "1000", launcher=held) as watching:
            hear_first_looks(watching, {ID})
            used, began = cpu_s(watching.pid), time.monotonic()
            subprocess.run([*held, "find", runtime.rootfs(ID) / "usr/lib/app", "-type", "f", "-delete"], check=True)
            deleting_s = time.monotonic() - began
            first_at, told = 0.0, 0

            def is_all(line: Line) -> bool:
                nonlocal first_at, told
                if line["type"] == "verdict" and line["scope"] == "drift":
                    told = _count(line)
                    first_at = first_at or line["heard_at"]
                return told >= files

            try:
                all_s = watching.hear(is_all)["heard_at"] - began
            except LabError as error:
                raise SystemExit(f"only {told:,} of {files:,} were told: {error}") from None
            used, rss = cpu_s(watching.pid) - used, memory_mb(watching.pid)[0]
        gaps = _read_gaps(state)
        floods = (state / "watch.log").read_text().count('"event_flood"')
    print(f"{files:,} files deleted in {deleting_s:.1f} s, {files / deleting_s:,.0f} a second")
    print(f"watching took {used:.1f} s of CPU, {used / deleting_s:.1f}x the time of the deleting; {rss:.0f} MB RSS")
    print(f"first told after {first_at - began:.2f} s, all {told:,} after {all_s:.1f} s: {all_s / deleting_s:.1f}x the deleting,")
    print(f"{POLL_S / 2 / all_s:.1f}x sooner than a scan every {POLL_S:.0f} s would begin to look")
    lost = sum(gap["body"]["events_lost"] for gap in gaps)
    losses = sum(1 for gap in gaps if gap["body"]["events_lost"])
    print(
        f"missed: {files - told:,}; the watcher's own word: {floods} floods named, {len(gaps)} gaps told, {losses} of them of lost events,"
    )
    print(f"{lost:,} events lost at least: of the kernel's own queue it is only known how often it was full")


def _count(verdict: Line) -> int:
    """Findings told one by one, and those counted beyond the bound."""
    more = sum(one["count"] for one in verdict["aggregates"] if one["rule"] == RULE)
    return int(verdict["findings"] + more)


def _read_gaps(state: Path) -> list[Line]:
    command = [sys.executable, "-m", "intact", "audit", "show", "--state", str(state), "--output", "jsonl", "--kind", "Gap"]
    return [json.loads(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]


if __name__ == "__main__":
    main()
