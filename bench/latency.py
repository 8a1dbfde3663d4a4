"""A write inside a container → the line on `intact watch`'s output: p50 and p99 of real writes, in a real container, by a real process.

sudo python -m bench.latency [--writes 300] [--rounds 3]

The time starts before the write and ends when the line was read from the pipe, so all of the way counts: event, look, hash, comparison,
report, incident. Each write is undone, and the container is intact again, before the next. `standing` leaves every file as it is: what a
write costs in a container that has many findings already. Beside it stands a scan every 30 s: not measured, since it is arithmetic (a write
waits evenly between 0 and 30 s, plus the scan).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.watching import Line, Watching, describe_machine, percentile, watch
from lab.images import busybox_image
from lab.runtime import Runtime

IMAGE = "docker.io/intact-bench/latency:1"
POLL_S = 30.0
PAUSE_S = 0.1
KINDS = {
    "added": "a file is added",
    "modified": "an image file is modified",
    "standing": "added, with all before it standing",
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--writes", type=int, default=300)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print(describe_machine())
    files = {b"/usr/lib/app/module%d.py" % number: b"print(%d)\n" % number for number in range(chosen.writes)}
    rounds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Runtime() as runtime:
        runtime.import_image(busybox_image(Path(name, "image"), IMAGE, files=files))
        with watch(runtime.address, Path(name, "watch")) as watching:
            for number in range(chosen.rounds):
                container = f"bench{number}"
                runtime.run(IMAGE, container)
                root = runtime.rootfs(container)
                for _ in range(2):  # its writable layer and its read-only layers
                    watching.hear(lambda line, id=container: line["type"] == "verdict" and line["container"]["id"] == id)  # type: ignore[misc]
                time.sleep(1)
                for kind in KINDS:
                    times = [_measure(watching, root, kind, n) for n in range(chosen.writes)]
                    rounds[kind].append((percentile(times, 50), percentile(times, 99)))
                    p50, p99, most = (1000 * value for value in (*rounds[kind][-1], max(times)))
                    print(f"round {number + 1} {kind:9} p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  max {most:6.1f} ms  n={len(times)}")
                runtime.stop(container)
    print(f"\n{'median of rounds':<36}{'p50':>10}{'p99':>10}   30 s poll over it (p50 {POLL_S / 2:.0f} s, p99 {POLL_S * 0.99:.1f} s)")
    for kind, measured in rounds.items():
        p50, p99 = (statistics.median(values) for values in zip(*measured, strict=True))
        ratio = f"{POLL_S / 2 / p50:,.0f}x and {POLL_S * 0.99 / p99:,.0f}x"
        print(f"{KINDS[kind]:<36}{p50 * 1000:>7.1f} ms{p99 * 1000:>7.1f} ms   {ratio}")


def _measure(watching: Watching, root: Path, kind: str, number: int) -> float:
    path = f"usr/lib/app/module{number}.py" if kind == "modified" else f"usr/lib/app/{kind}{number}.py"
    before = (root / path).read_bytes() if kind == "modified" else None
    time.sleep(PAUSE_S)
    content = os.urandom(4096)
    written_at = time.monotonic()
    descriptor = os.open(root / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)

    def is_it(line: Line) -> bool:
        return bool(line["type"] == "finding" and line["path"] == f"/{path}" and line["actual"]["size_bytes"] == len(content))

    heard_at: float = watching.hear(is_it)["heard_at"]
    if kind != "standing":
        if before is None:
            (root / path).unlink()
        else:
            (root / path).write_bytes(before)
        watching.hear(lambda line: line["type"] == "verdict" and line["state"] == "Intact" and line["scope"] == "drift")
    return heard_at - written_at


if __name__ == "__main__":
    main()
