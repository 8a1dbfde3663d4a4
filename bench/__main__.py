"""Every measurement, one after the other: `make bench`. `python -m bench NAME …` runs only those; one that fails does not stop the rest.

They run on a machine as it is: close what else is running. What they print is kept in docs/benchmarks.md.
"""

from __future__ import annotations

import subprocess
import sys
import time

ALL = {
    "latency": "a change in a container until the line of `intact watch`, for each class of change",
    "observe_latency": "of that, the doorbell and the look alone",
    "scan": "a look at an unchanged container, beside hashing all of it again",
    "observe_scan": "the same with files the container has copied up",
    "attribution": "how often the process behind a change is named, by kind of writer",
    "idle": "what watching costs while nothing happens",
    "busy": "the same at 1,000 changes a second, beside hashing everything every 30 s",
    "deletes": "50,000 deletes on one CPU: what is told, and when",
    "slowdown": "what a workload of nothing but metadata is slowed down by",
    "cold": "a node with 100 containers: from the start until each has a verdict",
    "baseline": "building a baseline, beside a compiled Go hasher, sha256sum, AIDE and tarfile; what each algorithm costs",
    "registry": "baselines from a registry, beside skopeo copy; a thousand images that share layers",
    "tables": "looking things up in a large table, opening it again, and what an agent holds for sixty images",
    "store": "reports taken in, on SQLite and on PostgreSQL",
    "store_size": "what baselines take where they are stored: bytes a file, and a thousand images that share layers",
    "noise": "seventeen stock services in their normal life and under attack: what alarms (half an hour)",
    "flood": "a write in a quiet container, alone and beside one that changes files without pause",
    "kernels": "what real 5.10, 6.1 and 6.12 kernels tell of each kind of change",
    "rollback": "on a Kubernetes node: a tampered file until the Deployment is rolled back, ready and verified",
}


def main() -> int:
    chosen = sys.argv[1:] or list(ALL)
    if unknown := sorted(set(chosen) - set(ALL)):
        print(f"no measurement is called {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen:
        print(f"\n== {name}: {ALL[name]}", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode:
            failed.append(name)
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
