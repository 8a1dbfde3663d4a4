"""A change inside a container → the line on `intact watch`'s output, for each class of change: p50 and p99.

sudo python -m bench.latency [--repeats 150] [--in-memory 40] [--rounds 1] [--short]

The time starts before the change and ends when the line was read from the pipe, so all of the way counts: event, look, hash, comparison,
report, incident. Each change is undone, and the container is intact again, before the next. What runs in memory alone is no event of a file
system: such programs are started one after the other, evenly over time, and none is waited for. The last kind leaves
every file as it is: what a further one costs in a container that has many findings already. Beside it stands a scan every 30 s: not
measured, since it is arithmetic (a change waits evenly between 0 and 30 s, plus the scan).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.changes import AT_ONCE, Change, Inside, add, make_image, run_in_memory
from bench.watching import describe_run, hear_first_looks, is_finding, percentile, shell_inside
from lab.runtime import Runtime
from lab.watching import Watching, watch

IMAGE = "docker.io/intact-bench/latency:1"
STANDING, IN_MEMORY = "added, all before it standing", "run in memory alone"
POLL_S = 30.0
PAUSE_S = 0.05
APART_S = 0.9
"""Between programs in memory: no divisor of the ten seconds at which everything that runs is looked at."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--repeats", type=int, default=150)
    options.add_argument("--in-memory", type=int, default=40, help="how often a program is run in memory alone")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--short", action="store_true", help="a few of each, to see that it works")
    chosen = options.parse_args()
    repeats, in_memory = (10, 3) if chosen.short else (chosen.repeats, chosen.in_memory)
    print(describe_run(), flush=True)
    measured: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Runtime() as runtime:
        runtime.import_image(make_image(Path(name), IMAGE, repeats))
        with watch(runtime.address, Path(name, "watch")) as watching:
            for number in range(chosen.rounds):
                id = f"bench{number}"
                pid = runtime.run(IMAGE, id)
                hear_first_looks(watching, {id})
                with shell_inside(pid) as run:
                    for kind, times in _measure_all(watching, Inside(runtime.rootfs(id), run), repeats, in_memory):
                        measured.setdefault(kind, []).append((percentile(times, 50), percentile(times, 99)))
                        p50, p99, most = (1000 * value for value in (*measured[kind][-1], max(times)))
                        print(f"{kind:<30} p50 {p50:8.1f} ms  p99 {p99:8.1f} ms  max {most:8.1f} ms  n={len(times)}", flush=True)
                runtime.stop(id)
    print(f"\n{'median of rounds':<30}{'p50':>11}{'p99':>11}   30 s poll over it (p50 {POLL_S / 2:.0f} s, p99 {POLL_S * 0.99:.1f} s)")
    for kind, rounds in measured.items():
        p50, p99 = (statistics.median(values) for values in zip(*rounds, strict=True))
        ratio = f"{POLL_S / 2 / p50:,.1f}x and {POLL_S * 0.99 / p99:,.1f}x"
        print(f"{kind:<30}{p50 * 1000:>8.1f} ms{p99 * 1000:>8.1f} ms   {ratio}")


def _measure_all(watching: Watching, inside: Inside, repeats: int, in_memory: int) -> Iterator[tuple[str, list[float]]]:
    for kind, (make, scope) in AT_ONCE.items():
        yield kind, [_measure(watching, make(inside, number), scope) for number in range(repeats)]
    yield IN_MEMORY, _measure_in_memory(watching, inside, in_memory)
    yield STANDING, [_time(watching, add(inside, number)) for number in range(repeats)]


def _measure(watching: Watching, change: Change, scope: str) -> float:
    """Undone, and seen as undone where something is looked at again."""
    latency_s = _time(watching, change)
    change.undo()
    if scope:
        watching.hear(lambda line: line["type"] == "verdict" and line["state"] == "Intact" and line["scope"] == scope)
    return latency_s


def _time(watching: Watching, change: Change) -> float:
    time.sleep(PAUSE_S)
    done_at = time.monotonic()
    change.do()
    heard_at: float = watching.hear(lambda line: is_finding(line, change.path, change.change))["heard_at"]
    return heard_at - done_at


def _measure_in_memory(watching: Watching, inside: Inside, programs: int) -> list[float]:
    changes = {change.path: change for change in (run_in_memory(inside, number) for number in range(programs))}
    done_at: dict[str, float] = {}
    heard_at: dict[str, float] = {}
    for path, change in changes.items():
        done_at[path] = time.monotonic()
        change.do()
        time.sleep(APART_S)
    while len(heard_at) < len(changes):
        line = watching.hear(lambda line: line["type"] == "finding" and line["path"] in changes)
        heard_at.setdefault(line["path"], line["heard_at"])
    for change in changes.values():
        change.undo()
    return [heard_at[path] - done_at[path] for path in changes]


if __name__ == "__main__":
    main()
