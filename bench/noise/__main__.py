"""Stock services in their normal life and under attack: what alarms.

sudo python -m bench.noise [--load 600] [--services nginx,redis,...] [--no-attacks]

Builds images of stock services from Debian packages (minutes the first time), runs each as a Deployment of two pods on a Kubernetes node of
the harness with Intact installed, and lets them live: start, load, log rotation and a reload, a rolling restart. Then attacks them.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from bench.noise.attacking import attack, check_silent
from bench.noise.attacks import ATTACKS, SILENT
from bench.noise.life import Life, live
from bench.noise.stage import Stage, install_intact
from bench.noise.workloads import WORKLOADS, Workload
from bench.watching import describe_machine
from lab.cluster import Cluster

PHASES = "abcd"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--load", type=float, default=600.0, help="Seconds of load.")
    options.add_argument("--services", default="", help="Only these, by name.")
    options.add_argument("--attacks", action=argparse.BooleanOptionalAction, default=True, help="Attack them afterwards.")
    options.add_argument("--cluster", type=int, help="The id of a cluster of the harness that is up; without, one of its own.")
    chosen = options.parse_args()
    names = [name for name in chosen.services.split(",") if name]
    workloads = [one for one in WORKLOADS if not names or one.service in names]
    print(describe_machine())
    with ExitStack() as stack:
        cluster = Cluster.running(chosen.cluster) if chosen.cluster is not None else stack.enter_context(Cluster())
        stage = stack.enter_context(install_intact(cluster))
        life = live(stage, workloads, load_s=chosen.load, say=print)
        quiet = tell(stage, workloads, life)
        sharp = not chosen.attacks or tell_attacks(stage, workloads)
        return 0 if quiet and sharp else 1


def tell(stage: Stage, workloads: list[Workload], life: Life) -> bool:
    """Prints the table of services; whether nothing alarmed."""
    findings = stage.recorded("Finding")
    print("\n| service | a | b | c | d | MB | findings | alerts |\n|---|---|---|---|---|---|---|---|")
    quiet = True
    for one in workloads:
        mine = [leaf for leaf in findings if leaf["workload"].endswith(f"/{one.service}")]
        grave = [leaf for leaf in mine if leaf["body"]["level"] not in ("Info", "Low")]
        alerts = stage.alerts(one.service)
        quiet = quiet and not grave and not alerts and not stage.incidents(one.service)
        counts = " | ".join(str(life.counts[phase][one.service]) for phase in PHASES)
        size = life.counts["c"][one.service].size_bytes / 1e6
        print(f"| {one.service} | {counts} | {size:.1f} | {len(mine)} | {len(alerts)} |")
    for leaf in findings:
        body = leaf["body"]
        print(f"{leaf['workload']} {body['level']} {body['rule']} {body['change']} {body['path']}", file=sys.stderr)
    return quiet


def tell_attacks(stage: Stage, workloads: list[Workload]) -> bool:
    """Prints the table of attacks; whether every one was told, and nothing that is silent by design."""
    services = {one.service for one in workloads}
    silent = check_silent(stage, [one for one in SILENT if one.service in services], patience_s=30)
    outcomes = attack(stage, [one for one in ATTACKS if one.service in services])
    print("\n| attack | service | told as |\n|---|---|---|")
    for one in outcomes:
        told = f"{one.level}, {one.rule}" if one.level else f"nothing {one.error}".strip()
        print(f"| {one.attack.what} | {one.attack.service} | {told} |")
    print("\n| silent by design | service | why |\n|---|---|---|")
    for one in silent:
        told = f" TOLD: {one.level}, {one.rule}" if one.level else ""
        print(f"| {one.attack.what} | {one.attack.service} | {one.attack.why_silent}{told} |")
    print(f"\n{sum(one.alerted for one in outcomes)} of {len(outcomes)} attacks alerted")
    return all(one.alerted for one in outcomes) and not any(one.alerted for one in silent)


if __name__ == "__main__":
    sys.exit(main())
