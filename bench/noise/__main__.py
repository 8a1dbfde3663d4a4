"""Stock services in their normal life and under attack: what alarms, what is only counted, what is silent.

sudo python -m bench.noise [--load 600] [--services nginx,redis,...] [--no-attacks] [--docs docs/noise.md]

Builds images of stock services from Debian packages (minutes the first time), runs each as a Deployment of two pods on a Kubernetes node of
the harness with Intact installed, and lets them live: start, load, log rotation and a reload, a rolling restart. Then attacks them.
Exits with 1 if anything of the normal life was told at Medium or above, or an attack was not.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.noise.attacking import QUIET, attack, check_silent
from bench.noise.attacks import ATTACKS, SILENT
from bench.noise.life import live
from bench.noise.report import replace_tables, tabulate_attacks, tabulate_counted, tabulate_services, tabulate_silent
from bench.noise.stage import install_intact
from bench.noise.workloads import WORKLOADS
from bench.watching import describe_run
from lab.cluster import Cluster

SILENCE_S = 30.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--load", type=float, default=600.0, help="Seconds of load.")
    options.add_argument("--services", default="", help="Only these, by name.")
    options.add_argument("--attacks", action=argparse.BooleanOptionalAction, default=True, help="Attack them afterwards.")
    options.add_argument("--docs", type=Path, help="A page whose tables are replaced.")
    options.add_argument("--cluster", type=int, help="The id of a cluster of the harness that is up; without, one of its own.")
    chosen = options.parse_args()
    names = [name for name in chosen.services.split(",") if name] or [one.service for one in WORKLOADS]
    workloads = [one for one in WORKLOADS if one.service in names]
    parts = [f"```\n{describe_run()}\n```"]
    with ExitStack() as stack:
        cluster = Cluster.running(chosen.cluster) if chosen.cluster is not None else stack.enter_context(Cluster())
        stage = stack.enter_context(install_intact(cluster))
        life = live(stage, workloads, load_s=chosen.load, say=print)
        findings, alerts, incidents = stage.recorded("Finding"), stage.alerts(), stage.incidents()
        grave = [leaf for leaf in findings if leaf["body"]["level"] not in QUIET]
        for leaf in grave:
            body = leaf["body"]
            print(f"{leaf['workload']}: {body['level']} {body['rule']} {body['change']} {body['path']}", file=sys.stderr)
        parts += [tabulate_services(workloads, life, findings, alerts), tabulate_counted({name: stage.counted(name) for name in names})]
        failed = bool(grave or alerts or incidents)
        if chosen.attacks:
            silent = check_silent(stage, [one for one in SILENT if one.service in names], patience_s=SILENCE_S)
            outcomes = attack(stage, [one for one in ATTACKS if one.service in names])
            told = sum(one.alerted for one in outcomes)
            parts += [f"{told} of {len(outcomes)} attacks told:", tabulate_attacks(outcomes), tabulate_silent(silent)]
            failed = failed or told < len(outcomes) or any(one.alerted for one in silent)
    text = "\n\n".join(parts)
    print(text)
    if chosen.docs:
        replace_tables(chosen.docs, text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
